#include "stet/formats/tensor_index.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace stet::formats {
namespace {

std::string type_name(const MetaValue& value) {
  static constexpr const char* kScalars[] = {"unsigned integer", "integer", "float", "boolean",
                                             "string"};
  static constexpr const char* kArrays[] = {"",       "unsigned integers", "integers",
                                            "floats", "booleans",          "strings"};
  if (const auto* scalar = std::get_if<MetaScalar>(&value.value)) {
    return kScalars[scalar->index()];
  }
  return std::string("array of ") + kArrays[value.value.index()];
}

Status wrong_type(std::string_view key, const MetaValue& value, std::string_view expected) {
  std::string message = "metadata '" + printable(key) + "' at offset " +
                        std::to_string(value.file_offset) + ": found " + type_name(value) +
                        ", expected ";
  return data_loss(message.append(expected));
}

Result<const MetaValue*> find_value(const TensorIndex& index, std::string_view key) {
  const auto it = index.metadata.find(key);
  if (it == index.metadata.end()) {
    return data_loss("metadata '" + printable(key) + "' is missing");
  }
  return &it->second;
}

// The scalar alternative T of a key, or null if the value is something else.
template <class T>
const T* scalar_of(const MetaValue& value) {
  const auto* scalar = std::get_if<MetaScalar>(&value.value);
  return scalar != nullptr ? std::get_if<T>(scalar) : nullptr;
}

}  // namespace

std::string_view tensor_type_name(TensorType type) {
  switch (type) {
    case TensorType::kF32: return "F32";
    case TensorType::kF16: return "F16";
    case TensorType::kBF16: return "BF16";
    case TensorType::kQ4_0: return "Q4_0";
    case TensorType::kQ4_1: return "Q4_1";
    case TensorType::kQ8_0: return "Q8_0";
    case TensorType::kQ5_0: return "Q5_0";
    case TensorType::kQ5_1: return "Q5_1";
    case TensorType::kQ4_K: return "Q4_K";
    case TensorType::kQ5_K: return "Q5_K";
    case TensorType::kQ6_K: return "Q6_K";
    case TensorType::kQ2_K: return "Q2_K";
    case TensorType::kQ3_K: return "Q3_K";
    case TensorType::kIQ4_NL: return "IQ4_NL";
  }
  return "unknown";
}

BlockFormat block_format(TensorType type) {
  switch (type) {
    case TensorType::kF32: return {1, 4};
    case TensorType::kF16:
    case TensorType::kBF16: return {1, 2};
    case TensorType::kQ4_0: return {32, 2 + 16};      // d; 32 codes of 4 bits
    case TensorType::kQ4_1: return {32, 2 + 2 + 16};  // d, m; 32 codes of 4 bits
    case TensorType::kQ8_0: return {32, 2 + 32};      // d; 32 codes of 8 bits
    case TensorType::kQ5_0: return {32, 2 + 4 + 16};
    case TensorType::kQ5_1: return {32, 2 + 2 + 4 + 16};
    case TensorType::kIQ4_NL:
      return {32, 2 + 16};  // d; 32 codes of 4 bits
    // Eight groups with 6-bit scales and minima; Q6_K, Q2_K and Q3_K sixteen with scales of 8, 4
    // and 6 bits.
    case TensorType::kQ4_K: return {256, 2 + 2 + 12 + 128};
    case TensorType::kQ5_K: return {256, 2 + 2 + 12 + 32 + 128};
    case TensorType::kQ6_K: return {256, 128 + 64 + 16 + 2};
    case TensorType::kQ2_K: return {256, 16 + 64 + 2 + 2};
    case TensorType::kQ3_K: return {256, 32 + 64 + 12 + 2};
  }
  return {};
}

const TensorInfo* TensorIndex::find(std::string_view name) const {
  const auto it = std::lower_bound(
      by_name.begin(), by_name.end(), name,
      [this](uint32_t i, std::string_view wanted) { return tensors[i].name < wanted; });
  return it != by_name.end() && tensors[*it].name == name ? &tensors[*it] : nullptr;
}

Result<uint64_t> TensorIndex::get_uint(std::string_view key) const {
  STET_ASSIGN_OR_RETURN(const MetaValue* value, find_value(*this, key));
  if (const auto* number = scalar_of<uint64_t>(*value)) {
    return *number;
  }
  const auto* number = scalar_of<int64_t>(*value);
  if (number == nullptr) {
    return wrong_type(key, *value, "unsigned integer");
  }
  if (*number < 0) {
    return data_loss("metadata '" + printable(key) + "' at offset " +
                     std::to_string(value->file_offset) + ": found " + std::to_string(*number) +
                     ", expected 0 or more");
  }
  return static_cast<uint64_t>(*number);
}

Result<double> TensorIndex::get_float(std::string_view key) const {
  STET_ASSIGN_OR_RETURN(const MetaValue* value, find_value(*this, key));
  if (const auto* number = scalar_of<double>(*value)) {
    return *number;
  }
  if (const auto* number = scalar_of<uint64_t>(*value)) {
    return static_cast<double>(*number);
  }
  if (const auto* number = scalar_of<int64_t>(*value)) {
    return static_cast<double>(*number);
  }
  return wrong_type(key, *value, "float");
}

Result<bool> TensorIndex::get_bool(std::string_view key) const {
  STET_ASSIGN_OR_RETURN(const MetaValue* value, find_value(*this, key));
  const auto* flag = scalar_of<bool>(*value);
  if (flag == nullptr) {
    return wrong_type(key, *value, "boolean");
  }
  return *flag;
}

Result<std::string> TensorIndex::get_string(std::string_view key) const {
  STET_ASSIGN_OR_RETURN(const MetaValue* value, find_value(*this, key));
  const auto* text = scalar_of<std::string>(*value);
  if (text == nullptr) {
    return wrong_type(key, *value, "string");
  }
  return *text;
}

Result<std::span<const std::string>> TensorIndex::get_strings(std::string_view key) const {
  STET_ASSIGN_OR_RETURN(const MetaValue* value, find_value(*this, key));
  const auto* texts = std::get_if<std::vector<std::string>>(&value->value);
  if (texts == nullptr) {
    return wrong_type(key, *value, "array of strings");
  }
  return std::span<const std::string>(*texts);
}

Result<std::vector<int64_t>> TensorIndex::get_ints(std::string_view key) const {
  STET_ASSIGN_OR_RETURN(const MetaValue* value, find_value(*this, key));
  if (const auto* numbers = std::get_if<std::vector<int64_t>>(&value->value)) {
    return *numbers;
  }
  const auto* numbers = std::get_if<std::vector<uint64_t>>(&value->value);
  if (numbers == nullptr) {
    return wrong_type(key, *value, "array of integers");
  }
  std::vector<int64_t> result;
  result.reserve(numbers->size());
  for (uint64_t number : *numbers) {
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return data_loss("metadata '" + printable(key) + "' at offset " +
                       std::to_string(value->file_offset) + ": found " + std::to_string(number) +
                       ", expected less than 2^63");
    }
    result.push_back(static_cast<int64_t>(number));
  }
  return result;
}

}  // namespace stet::formats
