// Every field of the one table of ranges x {below, above, huge, NaN, infinite, at the borders},
// through the whole service: refused with INVALID_ARGUMENT and the field's name, or accepted.
// Generated from the table; nothing is listed twice.
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <limits>
#include <set>

#include "stet/sampling/parameter_rules.h"
#include "tests/server/fakes.h"

namespace stet::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using sampling::ParameterKind;
using sampling::ParameterMax;
using sampling::ParameterRule;

constexpr uint32_t kPromptTokens = 3;  // of text_request("ab"), with the begin token

// Known fields that this stage refuses whatever they hold.
const std::set<std::string> kUnsupported = {"output.prompt_logprobs", "output.logprob_token_ids",
                                            "output.logprob_token_ids[]"};

double max_of(const ParameterRule& rule) {
  switch (rule.max_from) {
    case ParameterMax::kFixed:
    case ParameterMax::kCap: return rule.max;
    case ParameterMax::kVocab: return kVocab;
    case ParameterMax::kVocabId: return kVocab - 1;
    case ParameterMax::kRoom:
      return std::string_view(rule.field) == "truncate_prompt_tokens" ? kModelLen - 1
                                                                      : kModelLen - kPromptTokens;
    case ParameterMax::kMaxTokens: return kModelLen - kPromptTokens;
  }
  return 0;
}

// "sampling.allowed_token_ids[]" -> message, field and what comes after it ("[]", "[].key", ...).
struct Target {
  Message* message;
  const FieldDescriptor* field;
  std::string rest;
};
Target find(Message* root, std::string path) {
  std::string rest;
  if (const size_t bracket = path.find('['); bracket != std::string::npos) {
    rest = path.substr(bracket);
    path.resize(bracket);
  }
  for (size_t dot; (dot = path.find('.')) != std::string::npos; path.erase(0, dot + 1)) {
    root = root->GetReflection()->MutableMessage(
        root, root->GetDescriptor()->FindFieldByName(path.substr(0, dot)));
  }
  return {root, root->GetDescriptor()->FindFieldByName(path), rest};
}

// Sets the field to `value`; false where the wire type cannot hold it (a negative integer).
bool set(v1::GenerateRequest* request, const ParameterRule& rule, double value) {
  const Target target = find(request, rule.field);
  const auto* reflection = target.message->GetReflection();
  if (rule.kind != ParameterKind::kFloat && !(value >= 0 && value <= UINT32_MAX)) {
    return false;
  }
  const auto number = [&] { return static_cast<uint32_t>(value); };
  if (target.field->is_map()) {
    auto& map = *request->mutable_sampling()->mutable_logit_bias();
    if (target.rest == "[].key") {
      map[number()] = 1.0f;
    } else if (target.rest == "[].value") {
      map[5] = static_cast<float>(value);
    } else if (value <= 5000) {
      for (uint32_t i = 0; i < number(); ++i) {
        map[i] = 0.0f;
      }
    } else {
      return false;  // more entries than a message may have
    }
    return true;
  }
  switch (rule.kind) {
    case ParameterKind::kFloat:
      reflection->SetFloat(target.message, target.field, static_cast<float>(value));
      return true;
    case ParameterKind::kUint:
      if (target.field->is_repeated()) {
        reflection->AddUInt32(target.message, target.field, number());
      } else {
        reflection->SetUInt32(target.message, target.field, number());
      }
      return true;
    case ParameterKind::kCount:
      if (value > 5000) {
        return false;
      }
      for (uint32_t i = 0; i < number(); ++i) {
        if (target.field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
          reflection->AddString(target.message, target.field, "s" + std::to_string(i));
        } else {
          reflection->AddUInt32(target.message, target.field, i);
        }
      }
      return true;
    case ParameterKind::kBytes: {
      if (value > 100'000) {
        return false;
      }
      const std::string text(number(), 'x');
      if (target.field->is_repeated()) {
        reflection->AddString(target.message, target.field, text);
      } else {
        reflection->SetString(target.message, target.field, text);
      }
      return true;
    }
  }
  return false;
}

// The status of a call with this one field set; 0 = it was accepted.
google::rpc::Status outcome(World& world, const v1::GenerateRequest& request) {
  auto [events, call] = world.generate(request);
  EXPECT_TRUE(events->wait([&] { return !events->events.empty() || !events->done.empty(); }));
  std::lock_guard lock(events->mutex);
  return events->done.empty() ? google::rpc::Status() : events->done.front();
}

bool names(const google::rpc::Status& status, const ParameterRule& rule) {
  // The path of an element carries its index: compare up to the bracket.
  const std::string field = std::string(rule.field).substr(0, std::string(rule.field).find('['));
  const auto bad = detail_of<google::rpc::BadRequest>(status);
  for (const auto& violation : bad.field_violations()) {
    const std::string path = violation.field().substr(0, violation.field().find('['));
    if (path == field) {
      return status.message().find(field) != std::string::npos;
    }
  }
  return false;
}

TEST(ValidationTable, ValuesOutsideAreRefusedByName) {
  World world;
  for (const ParameterRule& rule : sampling::parameter_rules()) {
    const double max = max_of(rule);
    const double step = rule.kind == ParameterKind::kFloat ? 0.5 : 1;
    std::vector<double> outside = {rule.min - step, max + step, max * 1000 + 1000, UINT32_MAX};
    if (rule.min_exclusive) {
      outside.push_back(rule.min);
    }
    if (rule.kind == ParameterKind::kFloat) {
      for (const double odd :
           {double{FLT_MAX}, -double{FLT_MAX}, double{NAN}, double{INFINITY}, -double{INFINITY}}) {
        outside.push_back(odd);
      }
    }
    size_t tried = 0;
    for (const double value : outside) {
      v1::GenerateRequest request = text_request("ab");
      if (!set(&request, rule, value)) {
        continue;
      }
      ++tried;
      const google::rpc::Status status = outcome(world, request);
      EXPECT_EQ(status.code(), 3) << rule.field << " = " << value;
      EXPECT_TRUE(names(status, rule)) << rule.field << " = " << value << ": " << status.message();
      const std::string reason = reason_in(status);
      EXPECT_TRUE(kUnsupported.contains(rule.field)
                      ? reason == "unsupported"
                      : reason == "out_of_range" || reason == "context_length")
          << rule.field << " = " << value << ": " << reason;
    }
    EXPECT_GE(tried, 1u) << rule.field;
  }
}

TEST(ValidationTable, ValuesAtTheBordersAreAccepted) {
  World world;
  for (const ParameterRule& rule : sampling::parameter_rules()) {
    const double min = rule.min_exclusive ? rule.min + 0.001 : rule.min;
    for (const double value : {min, max_of(rule)}) {
      v1::GenerateRequest request = text_request("ab");
      ASSERT_TRUE(set(&request, rule, value)) << rule.field;
      const google::rpc::Status status = outcome(world, request);
      if (kUnsupported.contains(rule.field)) {
        const bool present = value > 0 || rule.kind == ParameterKind::kUint;
        EXPECT_EQ(status.code(), present ? 3 : 0) << rule.field << " = " << value;
        continue;
      }
      EXPECT_EQ(status.code(), 0) << rule.field << " = " << value << ": " << status.message();
    }
  }
}

// Every number of the request messages is held by a row of the table, or is known to have no range.
TEST(ValidationTable, EveryNumberOfARequestHasARow) {
  const std::set<std::string> no_range = {"sampling.seed", "tokens.ids",
                                          "scheduling.expected_output_tokens"};
  std::vector<std::pair<std::string, const google::protobuf::Descriptor*>> messages = {
      {"", v1::GenerateRequest::descriptor()},
      {"tokens.", v1::TokenIds::descriptor()},
      {"sampling.", v1::SamplingParams::descriptor()},
      {"stop.", v1::StopParams::descriptor()},
      {"output.", v1::OutputOptions::descriptor()},
      {"scheduling.", v1::SchedulingHints::descriptor()},
      {"scheduling.expect_followup.", v1::Followup::descriptor()}};
  size_t numbers = 0;
  for (const auto& [prefix, descriptor] : messages) {
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const FieldDescriptor& field = *descriptor->field(i);
      const bool number = field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT ||
                          field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32 ||
                          field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64 || field.is_map();
      const std::string path = prefix + field.name();
      if (!number || no_range.contains(path)) {
        continue;
      }
      ++numbers;
      EXPECT_NE(sampling::find_parameter_rule(path), nullptr) << path;
    }
  }
  EXPECT_GE(numbers, 18u);
}

}  // namespace
}  // namespace stet::server
