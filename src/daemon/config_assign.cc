#include "src/daemon/config_assign.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "src/daemon/address.h"
#include "src/daemon/config_table.h"
#include "stet/text/detokenizer.h"

namespace stet::daemon {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kMaxRepeated = 64;

struct Segment {
  std::string_view name;
  int index = -1;  // -1 = none
};

// "models[0].path" -> {models, 0}, {path}. Also takes "models.0.path". Empty on a malformed path.
std::vector<Segment> split_path(std::string_view path) {
  std::vector<Segment> segments;
  while (!path.empty()) {
    const size_t dot = path.find('.');
    std::string_view part = path.substr(0, dot);
    path = dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
    std::string_view digits;
    if (const size_t open = part.find('['); open != std::string_view::npos && part.back() == ']') {
      digits = part.substr(open + 1, part.size() - open - 2);
      part = part.substr(0, open);
      segments.push_back({part});
    } else if (!part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos &&
               !segments.empty()) {
      digits = part;
    } else {
      segments.push_back({part});
      continue;
    }
    int index = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error != std::errc{} || end != digits.data() + digits.size() || index >= kMaxRepeated ||
        index < 0) {
      return {};
    }
    segments.back().index = index;
  }
  return segments;
}

std::string join_path(const std::vector<Segment>& segments) {
  std::string path;
  for (const Segment& segment : segments) {
    path += (path.empty() ? "" : ".") + std::string(segment.name);
    if (segment.index >= 0) {
      path += "[" + std::to_string(segment.index) + "]";
    }
  }
  return path;
}

const FieldDescriptor* resolve(const std::vector<Segment>& segments) {
  const Descriptor* message = config::v1::Config::descriptor();
  for (size_t i = 0; i < segments.size(); ++i) {
    const FieldDescriptor* field = message->FindFieldByName(std::string(segments[i].name));
    if (field == nullptr || field->is_repeated() != (segments[i].index >= 0)) {
      return nullptr;
    }
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (i + 1 == segments.size()) {
      return is_message ? nullptr : field;
    }
    if (!is_message) {
      return nullptr;
    }
    message = field->message_type();
  }
  return nullptr;
}

// The message that holds the leaf, made on the way. Null when an index leaves a gap.
Message* holder_of(const std::vector<Segment>& segments, Message* root) {
  Message* message = root;
  for (size_t i = 0; i + 1 < segments.size(); ++i) {
    const Reflection* reflection = message->GetReflection();
    const FieldDescriptor* field =
        message->GetDescriptor()->FindFieldByName(std::string(segments[i].name));
    if (!field->is_repeated()) {
      message = reflection->MutableMessage(message, field);
      continue;
    }
    const int size = reflection->FieldSize(*message, field);
    if (segments[i].index > size) {
      return nullptr;
    }
    message = segments[i].index == size
                  ? reflection->AddMessage(message, field)
                  : reflection->MutableRepeatedMessage(message, field, segments[i].index);
  }
  return message;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return out;
}

struct ValueError {
  ConfigErrorCode code;
  std::string message;
};

// The value as an error shows it; flags and variables are shown as they were written.
std::string shown(const Assignment& assignment) {
  const std::string text = shown_text(assignment.value);
  return assignment.form == Assignment::Form::kString || text.empty() ? "\"" + text + "\"" : text;
}

std::optional<ValueError> parse_bool(const Assignment& from, bool* out) {
  const bool text = from.form == Assignment::Form::kText;
  const std::string value = text ? lower(from.value) : from.value;
  if (from.form != Assignment::Form::kString) {
    if (value == "true" || (text && (value == "on" || value == "1"))) {
      *out = true;
      return std::nullopt;
    }
    if (value == "false" || (text && (value == "off" || value == "0"))) {
      *out = false;
      return std::nullopt;
    }
  }
  return ValueError{ConfigErrorCode::kWrongType, "must be true or false"};
}

// Text format's integers: decimal, 0x hexadecimal, 0 octal.
std::optional<ValueError> parse_uint(const Assignment& from, const FieldRow& row, uint64_t* out) {
  std::string_view digits = from.value;
  const bool spelled_as_number =
      from.form == Assignment::Form::kNumber || from.form == Assignment::Form::kText;
  const bool negative = digits.starts_with('-');
  if (negative) {
    digits.remove_prefix(1);
  }
  int base = 10;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    base = 16;
    digits.remove_prefix(2);
  } else if (digits.size() > 1 && digits.front() == '0') {
    base = 8;
  }
  uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (!spelled_as_number || digits.empty() || error == std::errc::invalid_argument ||
      end != digits.data() + digits.size()) {
    return ValueError{ConfigErrorCode::kWrongType, "must be a whole number"};
  }
  const bool in_range = error == std::errc{} && !(negative && value != 0) &&
                        ((row.zero_allowed && value == 0) ||
                         (value >= row.min && value <= row.max && value % row.multiple_of == 0));
  if (!in_range) {
    return ValueError{ConfigErrorCode::kOutOfRange, "must be " + range_text(row)};
  }
  *out = value;
  return std::nullopt;
}

std::optional<ValueError> parse_enum(const Assignment& from, const FieldDescriptor* field,
                                     const EnumValueDescriptor** out) {
  if (from.form == Assignment::Form::kString) {
    return ValueError{ConfigErrorCode::kWrongType, "must be a name without quotes"};
  }
  std::string names;
  for (int i = 1; i < field->enum_type()->value_count(); ++i) {  // value 0 is _UNSPECIFIED
    const EnumValueDescriptor* candidate = field->enum_type()->value(i);
    names += (names.empty() ? "" : ", ") + candidate->name();
    const bool same =
        candidate->name() == from.value ||
        (from.form == Assignment::Form::kText && lower(candidate->name()) == lower(from.value));
    if (same) {
      *out = candidate;
      return std::nullopt;
    }
  }
  return ValueError{ConfigErrorCode::kUnknownValue, "must be one of " + names};
}

bool is_model_id(std::string_view id) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-";
  return !id.empty() && id.size() <= 128 &&
         id.find_first_not_of(kAllowed) == std::string_view::npos;
}

// Printable text: a NUL would cut a path short, a line break would split a log line.
bool is_clean_text(std::string_view value) {
  return text::is_valid_utf8(value) &&
         std::none_of(value.begin(), value.end(),
                      [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

std::optional<ValueError> check_string(std::string_view value, const FieldRow& row) {
  if (!is_clean_text(value)) {
    return ValueError{ConfigErrorCode::kWrongType, "must be UTF-8 without control characters"};
  }
  const auto failed = [&](ConfigErrorCode code) {
    return ValueError{code, "must be " + range_text(row)};
  };
  const bool no_listener = value.empty() && (row.rule == ValueRule::kAdminAddress ||
                                             row.rule == ValueRule::kTcpAddressOrEmpty);
  switch (row.rule) {
    case ValueRule::kNone: return std::nullopt;
    case ValueRule::kPath:
      return value.empty() ? std::optional(failed(ConfigErrorCode::kOutOfRange)) : std::nullopt;
    case ValueRule::kModelId:
      return is_model_id(value) ? std::nullopt
                                : std::optional(failed(ConfigErrorCode::kOutOfRange));
    case ValueRule::kAddress:
    case ValueRule::kAdminAddress:
    case ValueRule::kTcpAddressOrEmpty: {
      if (no_listener || (value == "auto" && row.rule == ValueRule::kAdminAddress)) {
        return std::nullopt;
      }
      const std::optional<Address> address = parse_address(value);
      const bool good = address && (row.rule != ValueRule::kTcpAddressOrEmpty || !address->is_unix);
      return good ? std::nullopt : std::optional(failed(ConfigErrorCode::kBadAddress));
    }
    case ValueRule::kIsa:
    case ValueRule::kPolicy:
    case ValueRule::kKvMode:
    case ValueRule::kEviction: {
      const std::vector<std::string> names = allowed_names(row.rule);
      const bool known = std::find(names.begin(), names.end(), value) != names.end();
      return known ? std::nullopt : std::optional(failed(ConfigErrorCode::kUnknownValue));
    }
  }
  return std::nullopt;
}

std::optional<ValueError> convert(const Assignment& from, const FieldRow& row,
                                  const FieldDescriptor* field, Message* holder) {
  const Reflection* reflection = holder->GetReflection();
  std::optional<ValueError> error;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      bool value = false;
      error = parse_bool(from, &value);
      if (!error) {
        reflection->SetBool(holder, field, value);
      }
      return error;
    }
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t value = 0;
      error = parse_uint(from, row, &value);
      if (error) {
        return error;
      }
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
        reflection->SetUInt32(holder, field, static_cast<uint32_t>(value));
      } else {
        reflection->SetUInt64(holder, field, value);
      }
      return std::nullopt;
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const EnumValueDescriptor* value = nullptr;
      error = parse_enum(from, field, &value);
      if (!error) {
        reflection->SetEnum(holder, field, value);
      }
      return error;
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      if (from.form == Assignment::Form::kIdentifier || from.form == Assignment::Form::kNumber) {
        return ValueError{ConfigErrorCode::kWrongType, "must be a string in quotes"};
      }
      error = check_string(from.value, row);
      if (!error) {
        reflection->SetString(holder, field, from.value);
      }
      return error;
    }
    default: break;  // the table test holds every field to the types above
  }
  return ValueError{ConfigErrorCode::kWrongType, "has a type that configuration does not use"};
}

}  // namespace

const FieldDescriptor* find_leaf(std::string_view path) {
  return resolve(split_path(path));
}

void assign(const Assignment& assignment, EffectiveConfig* config,
            std::vector<ConfigError>* errors) {
  const std::vector<Segment> segments = split_path(assignment.path);
  const FieldDescriptor* field = resolve(segments);
  const std::string path = join_path(segments);
  if (field == nullptr) {
    errors->push_back({assignment.name_origin, ConfigErrorCode::kUnknownField,
                       unknown_field_message(assignment.path)});
    return;
  }
  Message* holder = holder_of(segments, &config->values);
  if (holder == nullptr) {
    errors->push_back({assignment.name_origin, ConfigErrorCode::kOutOfRange,
                       path + ": the index leaves a gap; the entry before it is not set"});
    return;
  }
  if (const auto error = convert(assignment, *find_row(path), field, holder)) {
    errors->push_back(
        {assignment.origin, error->code, path + " = " + shown(assignment) + ": " + error->message});
    return;
  }
  config->origins[path] = assignment.name_origin;
}

std::string shown_text(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 200)) {
    out.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c);
  }
  return out;
}

void clear_models(EffectiveConfig* config) {
  config->values.clear_models();
  std::erase_if(config->origins,
                [](const auto& entry) { return entry.first.starts_with("models["); });
}

std::string unknown_field_message(std::string_view path) {
  const std::vector<std::string> leaves = config_leaf_paths();
  const std::string best = nearest(without_indices(path), leaves);
  return "unknown field '" + std::string(path) + "'" +
         (best.empty() ? "" : ": did you mean '" + best + "'?");
}

}  // namespace stet::daemon
