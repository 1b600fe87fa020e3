// The wire contract against the last release's descriptor set, proto/golden/stet_v1.binpb: within
// v1 only additions (api.md sec. 2.3). proto/golden/README.md says how a release renews it.
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace stet::server {
namespace {

using google::protobuf::DescriptorProto;
using google::protobuf::EnumDescriptorProto;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptorSet;
using google::protobuf::ServiceDescriptorProto;

// Full name -> definition, of every message, enum and service.
struct Contract {
  std::map<std::string, DescriptorProto> messages;
  std::map<std::string, EnumDescriptorProto> enums;
  std::map<std::string, ServiceDescriptorProto> services;
};

void add_message(const std::string& scope, const DescriptorProto& message, Contract* out) {
  const std::string name = scope + "." + message.name();
  out->messages[name] = message;
  for (const auto& nested : message.nested_type()) {
    add_message(name, nested, out);
  }
  for (const auto& nested : message.enum_type()) {
    out->enums[name + "." + nested.name()] = nested;
  }
}

Contract contract_of(const FileDescriptorSet& set) {
  Contract out;
  for (const auto& file : set.file()) {
    if (!file.package().starts_with("stet.")) {
      continue;
    }
    for (const auto& message : file.message_type()) {
      add_message(file.package(), message, &out);
    }
    for (const auto& type : file.enum_type()) {
      out.enums[file.package() + "." + type.name()] = type;
    }
    for (const auto& service : file.service()) {
      out.services[file.package() + "." + service.name()] = service;
    }
  }
  return out;
}

bool reserves(const DescriptorProto& message, int number) {
  for (const auto& range : message.reserved_range()) {
    if (number >= range.start() && number < range.end()) {
      return true;
    }
  }
  return false;
}

std::string oneof_of(const DescriptorProto& message, const FieldDescriptorProto& field) {
  return field.has_oneof_index() && !field.proto3_optional()
             ? message.oneof_decl(field.oneof_index()).name()
             : "";
}

void compare_fields(const std::string& name, const DescriptorProto& before,
                    const DescriptorProto& now, std::vector<std::string>* problems) {
  std::map<int, const FieldDescriptorProto*> by_number;
  for (const auto& field : now.field()) {
    by_number[field.number()] = &field;
  }
  for (const auto& old : before.field()) {
    const std::string path = name + "." + old.name();
    const auto it = by_number.find(old.number());
    if (it == by_number.end()) {
      problems->push_back(path + ": field " + std::to_string(old.number()) + " is gone" +
                          (reserves(now, old.number()) ? "" : " and its number is not reserved"));
      continue;
    }
    const FieldDescriptorProto& field = *it->second;
    if (field.name() != old.name()) {
      problems->push_back(path + ": is now called " + field.name());
    }
    if (field.type() != old.type() || field.type_name() != old.type_name() ||
        field.label() != old.label()) {
      problems->push_back(path + ": has another type");
    }
    if (field.proto3_optional() != old.proto3_optional()) {
      problems->push_back(path + ": presence changed");
    }
    if (oneof_of(now, field) != oneof_of(before, old)) {
      problems->push_back(path + ": moved into or out of a oneof");
    }
  }
}

void compare_services(const Contract& before, const Contract& now,
                      std::vector<std::string>* problems) {
  for (const auto& [name, old] : before.services) {
    const auto it = now.services.find(name);
    if (it == now.services.end()) {
      problems->push_back(name + ": the service is gone");
      continue;
    }
    for (const auto& method : old.method()) {
      bool same = false;
      for (const auto& candidate : it->second.method()) {
        same = same || (candidate.name() == method.name() &&
                        candidate.input_type() == method.input_type() &&
                        candidate.output_type() == method.output_type() &&
                        candidate.client_streaming() == method.client_streaming() &&
                        candidate.server_streaming() == method.server_streaming());
      }
      if (!same) {
        problems->push_back(name + "." + method.name() + ": gone, or with another signature");
      }
    }
  }
}

std::vector<std::string> incompatibilities(const FileDescriptorSet& golden,
                                           const FileDescriptorSet& current) {
  const Contract before = contract_of(golden), now = contract_of(current);
  std::vector<std::string> problems;
  for (const auto& [name, old] : before.messages) {
    const auto it = now.messages.find(name);
    if (it == now.messages.end()) {
      problems.push_back(name + ": the message is gone");
    } else {
      compare_fields(name, old, it->second, &problems);
    }
  }
  for (const auto& [name, old] : before.enums) {
    const auto it = now.enums.find(name);
    for (const auto& value : old.value()) {
      bool same = false;
      if (it != now.enums.end()) {
        for (const auto& candidate : it->second.value()) {
          same = same || (candidate.name() == value.name() && candidate.number() == value.number());
        }
      }
      if (!same) {
        problems.push_back(name + "." + value.name() + ": gone or renumbered");
      }
    }
  }
  compare_services(before, now, &problems);
  return problems;
}

FileDescriptorSet load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  FileDescriptorSet set;
  EXPECT_TRUE(file.good() && set.ParseFromIstream(&file)) << path;
  return set;
}

FileDescriptorSet golden() {
  return load(std::string(STET_SOURCE_DIR) + "/proto/golden/stet_v1.binpb");
}

TEST(Descriptor, TheContractIsCompatibleWithTheLastRelease) {
  const auto problems = incompatibilities(golden(), load(STET_DESCRIPTOR_SET));
  for (const std::string& problem : problems) {
    ADD_FAILURE() << problem;
  }
}

TEST(Descriptor, TheGoldenFileHoldsTheWholeContract) {
  const Contract contract = contract_of(golden());
  for (const char* service :
       {"stet.v1.InferenceService", "stet.v1.ModelService", "stet.v1.AdminService"}) {
    EXPECT_TRUE(contract.services.contains(service)) << service;
  }
  EXPECT_TRUE(contract.messages.contains("stet.v1.GenerateRequest"));
}

// Negative controls: each kind of break, planted into a copy, is found; an addition is not.
struct Break {
  const char* what;
  std::function<void(FileDescriptorSet*)> plant;
};

DescriptorProto* message(FileDescriptorSet* set, const std::string& name) {
  for (auto& file : *set->mutable_file()) {
    for (auto& candidate : *file.mutable_message_type()) {
      if (candidate.name() == name) {
        return &candidate;
      }
    }
  }
  return nullptr;
}

TEST(Descriptor, PlantedBreaksAreFound) {
  const std::vector<Break> breaks = {
      {"a field is gone",
       [](auto* s) { message(s, "Delta")->mutable_field()->DeleteSubrange(0, 1); }},
      {"a field is renamed", [](auto* s) { message(s, "Delta")->mutable_field(1)->set_name("t"); }},
      {"a field is renumbered",
       [](auto* s) { message(s, "Delta")->mutable_field(1)->set_number(99); }},
      {"a field has another type",
       [](auto* s) {
         message(s, "Delta")->mutable_field(1)->set_type(FieldDescriptorProto::TYPE_BYTES);
       }},
      {"presence changed",
       [](auto* s) { message(s, "SamplingParams")->mutable_field(0)->clear_proto3_optional(); }},
      {"a field left its oneof",
       [](auto* s) { message(s, "ContentPart")->mutable_field(0)->clear_oneof_index(); }},
      {"a message is gone", [](auto* s) { message(s, "Usage")->set_name("Used"); }},
      {"an enum value is renumbered",
       [](auto* s) {
         for (auto& file : *s->mutable_file()) {
           if (file.enum_type_size() > 0) {
             file.mutable_enum_type(0)->mutable_value(1)->set_number(42);
           }
         }
       }},
      {"a method has another signature",
       [](auto* s) {
         for (auto& file : *s->mutable_file()) {
           if (file.service_size() > 0) {
             file.mutable_service(0)->mutable_method(0)->set_client_streaming(true);
           }
         }
       }},
  };
  for (const Break& b : breaks) {
    FileDescriptorSet broken = golden();
    b.plant(&broken);
    EXPECT_FALSE(incompatibilities(golden(), broken).empty()) << b.what;
  }
}

TEST(Descriptor, AdditionsAreFine) {
  FileDescriptorSet grown = golden();
  FieldDescriptorProto* field = message(&grown, "Delta")->add_field();
  field->set_name("brand_new");
  field->set_number(50);
  field->set_type(FieldDescriptorProto::TYPE_UINT32);
  field->set_label(FieldDescriptorProto::LABEL_OPTIONAL);
  EXPECT_TRUE(incompatibilities(golden(), grown).empty());
}

}  // namespace
}  // namespace stet::server
