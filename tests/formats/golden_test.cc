// File blocks against PyPI `gguf` (tests/golden/formats): a reader of the same formats that is not
// ours gives the same weights, bit by bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "stet/formats/tensor_index.h"
#include "stet/kernels/pack.h"

namespace stet::formats {
namespace {

using kernels::WeightType;

std::vector<std::byte> from_hex(const std::string& text) {
  std::vector<std::byte> bytes(text.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  return bytes;
}

constexpr std::pair<TensorType, WeightType> kQuantised[] = {
    {TensorType::kQ4_0, WeightType::kQ4_0},    {TensorType::kQ4_1, WeightType::kQ4_1},
    {TensorType::kQ5_0, WeightType::kQ5_0},    {TensorType::kQ5_1, WeightType::kQ5_1},
    {TensorType::kQ8_0, WeightType::kQ8_0},    {TensorType::kQ4_K, WeightType::kQ4_K},
    {TensorType::kQ5_K, WeightType::kQ5_K},    {TensorType::kQ6_K, WeightType::kQ6_K},
    {TensorType::kQ2_K, WeightType::kQ2_K},    {TensorType::kQ3_K, WeightType::kQ3_K},
    {TensorType::kIQ4_NL, WeightType::kIQ4_NL}};

TEST(Golden, BlocksOfEveryTypeHaveTheWeightsThatGgufReads) {
  std::ifstream file(STET_SOURCE_DIR "/tests/golden/formats/blocks.json");
  ASSERT_TRUE(file) << "tests/golden/formats/blocks.json";
  const nlohmann::json golden = nlohmann::json::parse(file);
  ASSERT_EQ(golden["cases"].size(), std::size(kQuantised));
  for (const auto& [type, weight] : kQuantised) {
    const std::string name(tensor_type_name(type));
    const auto found = std::find_if(golden["cases"].begin(), golden["cases"].end(),
                                    [&](const nlohmann::json& c) { return c["type"] == name; });
    ASSERT_NE(found, golden["cases"].end()) << name;
    const std::vector<std::byte> blocks = from_hex((*found)["blocks"].get<std::string>());
    const std::vector<std::byte> values = from_hex((*found)["values"].get<std::string>());
    const auto k = static_cast<uint32_t>(values.size() / sizeof(float));
    const BlockFormat format = block_format(type);
    ASSERT_EQ(blocks.size(), size_t{k / format.elements} * format.bytes) << name;
    ASSERT_EQ(kernels::file_row_bytes(weight, k), blocks.size()) << name;
    for (uint32_t i = 0; i < k; ++i) {
      float expected;
      std::memcpy(&expected, values.data() + i * sizeof expected, sizeof expected);
      ASSERT_EQ(kernels::file_weight(weight, blocks.data(), k, 0, i), expected)
          << name << " element " << i;
    }
  }
}

}  // namespace
}  // namespace stet::formats
