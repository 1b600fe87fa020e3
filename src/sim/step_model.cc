#include "src/sim/step_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace stet::sim {

uint64_t StepTime::step_us(const StepBatch& batch) const {
  if (batch.rows.empty()) {
    return 0;
  }
  double tokens = 0.0, decode_context = 0.0, chunk_context = 0.0;
  for (const BatchRow& row : batch.rows) {
    tokens += row.n_pos;
    const double context = row.first_pos;
    (row.n_pos == 1 ? decode_context : chunk_context) += row.n_pos * context;
  }
  const double us =
      a_us + std::max(w_us, c_us * tokens) + r_us * decode_context + q_us * chunk_context;
  return std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(us)));
}

namespace {

using nlohmann::json;

class Fields {
 public:
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  Status check_names(std::initializer_list<std::string_view> names) const {
    if (!object_.is_object()) {
      return invalid_argument(where_ + ": expected an object");
    }
    for (const auto& [key, value] : object_.items()) {
      if (std::find(names.begin(), names.end(), key) == names.end()) {
        return invalid_argument(where_ + ": field '" + key + "' is unknown");
      }
    }
    for (const std::string_view name : names) {
      if (!object_.contains(name)) {
        return invalid_argument(where_ + ": field '" + std::string(name) + "' is missing");
      }
    }
    return {};
  }
  Status text(const char* name, std::string* out) const {
    const json& value = object_.at(name);
    if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
      return wrong(name, "a text that is not empty");
    }
    value.get_to(*out);
    return {};
  }
  Status count(const char* name, uint32_t* out) const {
    const json& value = object_.at(name);
    if (!value.is_number_unsigned() || value.get<uint64_t>() == 0 ||
        value.get<uint64_t>() > 1'000'000'000) {
      return wrong(name, "a whole number in 1..1000000000");
    }
    value.get_to(*out);
    return {};
  }
  Status coefficient(const char* name, double* out) const {
    const json& value = object_.at(name);
    if (!value.is_number() || !(value.get<double>() >= 0.0 && value.get<double>() <= 1e9)) {
      return wrong(name, "microseconds in 0..1e9");
    }
    value.get_to(*out);
    return {};
  }
  Status wrong(const char* name, const std::string& expected) const {
    return invalid_argument(where_ + ": " + name + " is " + object_.at(name).dump() +
                            "; expected " + expected);
  }

 private:
  const json& object_;
  const std::string where_;
};

}  // namespace

Result<MachineModel> parse_machine(std::string_view text, const std::string& file_name) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) {
    return invalid_argument(file_name + ": not JSON");
  }
  MachineModel machine;
  const Fields fields(root, file_name);
  STET_RETURN_IF_ERROR(fields.check_names(
      {"name", "source", "pool_tokens", "block_tokens", "max_step_tokens", "step_time"}));
  STET_RETURN_IF_ERROR(fields.text("name", &machine.name));
  STET_RETURN_IF_ERROR(fields.text("source", &machine.source));
  STET_RETURN_IF_ERROR(fields.count("pool_tokens", &machine.pool_tokens));
  STET_RETURN_IF_ERROR(fields.count("block_tokens", &machine.block_tokens));
  STET_RETURN_IF_ERROR(fields.count("max_step_tokens", &machine.max_step_tokens));
  const Fields step(root["step_time"], file_name + ": step_time");
  STET_RETURN_IF_ERROR(step.check_names({"a_us", "w_us", "c_us", "r_us", "q_us"}));
  STET_RETURN_IF_ERROR(step.coefficient("a_us", &machine.step.a_us));
  STET_RETURN_IF_ERROR(step.coefficient("w_us", &machine.step.w_us));
  STET_RETURN_IF_ERROR(step.coefficient("c_us", &machine.step.c_us));
  STET_RETURN_IF_ERROR(step.coefficient("r_us", &machine.step.r_us));
  STET_RETURN_IF_ERROR(step.coefficient("q_us", &machine.step.q_us));
  if (machine.pool_tokens < machine.block_tokens) {
    return fields.wrong("pool_tokens", "at least block_tokens");
  }
  return machine;
}

Result<MachineModel> load_machine(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return not_found(path + ": the model of the machine cannot be read");
  }
  return parse_machine(text.str(), path);
}

}  // namespace stet::sim
