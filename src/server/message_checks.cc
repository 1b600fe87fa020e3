#include "src/server/message_checks.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include <charconv>
#include <string>
#include <vector>

#include "stet/text/detokenizer.h"

namespace stet::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::UnknownFieldSet;

// Depth is bounded by the schema: no request message contains itself.
void check_level(const Message& message, const std::string& prefix, Violations* violations);

std::string enum_values(const google::protobuf::EnumDescriptor& type) {
  std::string names;
  for (int i = 0; i < type.value_count(); ++i) {
    names += (i == 0 ? "" : ", ") + type.value(i)->name();
  }
  return names;
}

// `index` = -1 for a singular field.
void check_value(const Message& message, const FieldDescriptor& field, int index,
                 const std::string& path, Violations* violations) {
  const Reflection* reflection = message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      check_level(index < 0 ? reflection->GetMessage(message, &field)
                            : reflection->GetRepeatedMessage(message, &field, index),
                  path + ".", violations);
      break;
    case FieldDescriptor::CPPTYPE_ENUM: {
      const int value = index < 0 ? reflection->GetEnumValue(message, &field)
                                  : reflection->GetRepeatedEnumValue(message, &field, index);
      if (field.enum_type()->FindValueByNumber(value) == nullptr) {
        violations->add(reason::kOutOfRange, path,
                        std::to_string(value) + " is no value of " + field.enum_type()->name() +
                            ": must be one of " + enum_values(*field.enum_type()));
      }
      break;
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      if (field.type() != FieldDescriptor::TYPE_STRING) {
        break;
      }
      std::string scratch;
      const std::string& text =
          index < 0 ? reflection->GetStringReference(message, &field, &scratch)
                    : reflection->GetRepeatedStringReference(message, &field, index, &scratch);
      if (!text::is_valid_utf8(text)) {
        violations->add(reason::kMalformed, path, "must be valid UTF-8");
      }
      break;
    }
    default: break;
  }
}

void check_level(const Message& message, const std::string& prefix, Violations* violations) {
  const Reflection* reflection = message.GetReflection();
  const UnknownFieldSet& unknown = reflection->GetUnknownFields(message);
  for (int i = 0; i < unknown.field_count() && !violations->full(); ++i) {
    const std::string number = std::to_string(unknown.field(i).number());
    violations->add(reason::kUnknownField, prefix + number,
                    "field number " + number + " of " + message.GetDescriptor()->name() +
                        " is not known to this server");
  }
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->is_map()) {
      continue;  // scalars only in this contract; their ranges are checked by the table
    }
    if (!field->is_repeated()) {
      check_value(message, *field, -1, prefix + field->name(), violations);
      continue;
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE &&
        field->cpp_type() != FieldDescriptor::CPPTYPE_STRING &&
        field->cpp_type() != FieldDescriptor::CPPTYPE_ENUM) {
      continue;  // long lists of numbers: nothing to see here
    }
    const int size = reflection->FieldSize(message, field);
    for (int i = 0; i < size && !violations->full(); ++i) {
      check_value(message, *field, i, prefix + field->name() + "[" + std::to_string(i) + "]",
                  violations);
    }
  }
}

}  // namespace

void check_message(const Message& message, Violations* violations) {
  check_level(message, "", violations);
}

std::string number_text(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value);
  return std::string(text, end.ptr);
}

}  // namespace stet::server
