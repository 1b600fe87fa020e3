// The test models' quantisers are checked too: an error there would look like an error of the
// kernels.
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "stet/kernels/pack.h"
#include "tests/support/quantise.h"

namespace stet::testing {
namespace {

using formats::TensorType;

TEST(Quantise, HalvesRoundToNearestEven) {
  EXPECT_EQ(float_to_f16(0.0f), 0x0000);
  EXPECT_EQ(float_to_f16(-0.0f), 0x8000);
  EXPECT_EQ(float_to_f16(1.0f), 0x3C00);
  EXPECT_EQ(float_to_f16(-2.0f), 0xC000);
  EXPECT_EQ(float_to_f16(65504.0f), 0x7BFF);
  EXPECT_EQ(float_to_f16(65520.0f), 0x7C00);
  EXPECT_EQ(float_to_f16(std::ldexp(1.0f, -24)), 0x0001);
  EXPECT_EQ(float_to_f16(std::ldexp(1.0f, -25)), 0x0000);         // tie to even
  EXPECT_EQ(float_to_f16(std::ldexp(3.0f, -25)), 0x0002);         // tie to even
  EXPECT_EQ(float_to_f16(1.0f + std::ldexp(1.0f, -11)), 0x3C00);  // tie to even
  EXPECT_EQ(float_to_f16(1.0f + std::ldexp(3.0f, -11)), 0x3C02);  // tie to even
  EXPECT_EQ(float_to_f16(std::nextafter(2.0f, 0.0f)), 0x4000);    // carries into the exponent
  EXPECT_EQ(float_to_bf16(1.0f), 0x3F80);
}

TEST(Quantise, BlocksHaveTheFilesSizeAndLayout) {
  std::vector<float> values(512);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i % 16);
  }
  for (TensorType type :
       {TensorType::kF32, TensorType::kF16, TensorType::kBF16, TensorType::kQ4_0, TensorType::kQ4_1,
        TensorType::kQ8_0, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ4_K,
        TensorType::kQ5_K, TensorType::kQ6_K, TensorType::kQ2_K, TensorType::kQ3_K,
        TensorType::kIQ4_NL}) {
    const formats::BlockFormat block = formats::block_format(type);
    EXPECT_EQ(quantise(type, values).size(), values.size() / block.elements * block.bytes);
  }
  // 0..15 with d = 1, m = 0: byte i holds code i twice.
  const std::vector<std::byte> q4_1 = quantise(TensorType::kQ4_1, values);
  EXPECT_EQ(q4_1[0], std::byte{0x00});
  EXPECT_EQ(q4_1[1], std::byte{0x3C});
  EXPECT_EQ(q4_1[2], std::byte{0x00});
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(q4_1[4 + i], static_cast<std::byte>(i * 17));
  }
}

// Read back with the kernels' own reader, which pack_test.cc holds against the formats'
// description: no element is further off than its step.
TEST(Quantise, ValuesComeBackWithinTheirStep) {
  std::vector<float> values(512);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = std::sin(static_cast<float>(i * i % 997)) * static_cast<float>(1 + i / 32 % 5);
  }
  const auto k = static_cast<uint32_t>(values.size());
  for (const auto& [type, weight, steps] :
       {std::tuple{TensorType::kQ4_0, kernels::WeightType::kQ4_0, 16},
        {TensorType::kQ5_0, kernels::WeightType::kQ5_0, 32},
        {TensorType::kQ5_1, kernels::WeightType::kQ5_1, 32},
        {TensorType::kQ4_K, kernels::WeightType::kQ4_K, 15},
        {TensorType::kQ5_K, kernels::WeightType::kQ5_K, 31},
        {TensorType::kQ6_K, kernels::WeightType::kQ6_K, 64},
        {TensorType::kQ2_K, kernels::WeightType::kQ2_K, 3},
        {TensorType::kQ3_K, kernels::WeightType::kQ3_K, 8},
        {TensorType::kIQ4_NL, kernels::WeightType::kIQ4_NL, 10}}) {
    const std::vector<std::byte> bytes = quantise(type, values);
    for (uint32_t i = 0; i < k; ++i) {
      const float range = 2.0f * static_cast<float>(1 + i / 32 % 5);
      // A scale or minimum of 6 bits is itself off by half of 1/63 of the largest.
      const float step = range / static_cast<float>(steps) + 10.0f / 63.0f;
      ASSERT_NEAR(kernels::file_weight(weight, bytes.data(), k, 0, i), values[i], step)
          << formats::tensor_type_name(type) << " element " << i;
    }
  }
}

}  // namespace
}  // namespace stet::testing
