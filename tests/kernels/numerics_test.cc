#include <gtest/gtest.h>

#include "kernels/numerics/exp2.h"
#include "kernels/numerics/log2.h"
#include "kernels/numerics/philox.h"
#include "kernels/numerics/reduce.h"
#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

double ulp_of(double x) {
  return std::ldexp(1.0, std::ilogb(x) - 23);
}

class Numerics : public ::testing::Test {
 protected:
  void SetUp() override { set_float_environment(); }
};

// A stride of a prime number of floats visits every exponent and all mantissa patterns; 97 keeps it
// under a second.
constexpr uint32_t kStride = 97;

TEST_F(Numerics, Exp2StaysUnderItsStatedErrorOverTheWholeRange) {
  double worst = 0;
  for (const uint32_t sign : {0u, 0x80000000u}) {
    for (uint32_t u = 0x20000000u; u <= float_bits(125.0f); u += kStride) {
      const float x = bits_float(u | sign);
      const double exact = std::exp2(double{x});
      worst = std::max(worst, std::fabs(exp2_c6(x) - exact) / ulp_of(exact));
    }
  }
  EXPECT_LE(worst, kExp2MaxUlp);
  EXPECT_GT(worst, 0.5);  // the loop measures something
}

TEST_F(Numerics, Exp2IsOneAtZeroAndClamped) {
  EXPECT_EQ(exp2_c6(0.0f), 1.0f);
  EXPECT_EQ(exp2_c6(-0.0f), 1.0f);
  EXPECT_EQ(exp2_c6(-125.0f), 0x1p-125f);
  EXPECT_EQ(exp2_c6(-std::numeric_limits<float>::infinity()), 0x1p-125f);
  EXPECT_EQ(exp2_c6(std::numeric_limits<float>::quiet_NaN()), 0x1p-125f);
  EXPECT_EQ(exp2_c6(std::numeric_limits<float>::infinity()), 0x1p125f);
  EXPECT_EQ(exp2_c6(3000.0f), 0x1p125f);
}

TEST_F(Numerics, Log2StaysUnderItsStatedErrorOverTheWholeRange) {
  double worst = 0;
  for (uint32_t u = 0x00800000u; u < 0x7F800000u; u += kStride) {
    const float x = bits_float(u);
    const double exact = std::log2(double{x});
    if (exact != 0) {
      worst = std::max(worst, std::fabs(log2_c6(x) - exact) / ulp_of(exact));
    }
  }
  for (uint32_t u = 0x3F000000u; u < 0x40000000u;
       u += 3) {  // densely where the result is near zero
    const float x = bits_float(u);
    const double exact = std::log2(double{x});
    if (exact != 0) {
      worst = std::max(worst, std::fabs(log2_c6(x) - exact) / ulp_of(exact));
    }
  }
  EXPECT_LE(worst, kLog2MaxUlp);
  EXPECT_GT(worst, 0.5);
  for (int e = -126; e < 128; ++e) {
    EXPECT_EQ(log2_c6(std::ldexp(1.0f, e)), static_cast<float>(e));
  }
}

TEST_F(Numerics, C2SumsInTheStatedOrder) {
  test::Rng rng(41);
  for (const uint32_t n : {1u, 63u, 64u, 65u, 1000u}) {
    const test::Buffer<float> x = test::floats(rng, n);
    float p[64] = {};
    for (uint32_t j = 0; j < 64; ++j) {
      for (uint32_t i = j; i < n; i += 64) {
        p[j] = std::fma(x[i], x[i], p[j]);
      }
    }
    for (const uint32_t half : {32u, 16u, 8u, 4u, 2u, 1u}) {
      for (uint32_t j = 0; j < half; ++j) {
        p[j] = p[j] + p[j + half];
      }
    }
    EXPECT_EQ(c2_sum_squares(x.data(), n), p[0]);
  }
}

// Known answers of Random123 (kat_vectors, philox4x32 10).
TEST_F(Numerics, PhiloxGivesTheKnownAnswers) {
  const PhiloxBlock zero = philox4x32_10(0, 0, {{0, 0, 0, 0}});
  EXPECT_EQ(zero.w[0], 0x6627E8D5u);
  EXPECT_EQ(zero.w[1], 0xE169C58Du);
  EXPECT_EQ(zero.w[2], 0xBC57AC4Cu);
  EXPECT_EQ(zero.w[3], 0x9B00DBD8u);
  const PhiloxBlock ones = philox4x32_10(~0u, ~0u, {{~0u, ~0u, ~0u, ~0u}});
  EXPECT_EQ(ones.w[0], 0x408F276Du);
  EXPECT_EQ(ones.w[1], 0x41C83B0Eu);
  EXPECT_EQ(ones.w[2], 0xA20BC7C6u);
  EXPECT_EQ(ones.w[3], 0x6D5451FDu);
  const PhiloxBlock pi = philox4x32_10(0xA4093822u, 0x299F31D0u,
                                       {{0x243F6A88u, 0x85A308D3u, 0x13198A2Eu, 0x03707344u}});
  EXPECT_EQ(pi.w[0], 0xD16CFE09u);
  EXPECT_EQ(pi.w[1], 0x94FDCCEBu);
  EXPECT_EQ(pi.w[2], 0x5001E420u);
  EXPECT_EQ(pi.w[3], 0x24126EA1u);
}

TEST_F(Numerics, Bf16IsNearestEvenWithDenormalsAsZero) {
  EXPECT_EQ(float_to_bf16(1.0f), 0x3F80);
  EXPECT_EQ(float_to_bf16(bits_float(0x3F808000)), 0x3F80);  // tie to even
  EXPECT_EQ(float_to_bf16(bits_float(0x3F818000)), 0x3F82);
  EXPECT_EQ(float_to_bf16(bits_float(0x3F808001)), 0x3F81);
  EXPECT_EQ(float_to_bf16(bits_float(0x007FFFFF)), 0);
  EXPECT_EQ(float_to_bf16(bits_float(0x807FFFFF)), 0x8000);
  EXPECT_EQ(float_to_bf16(bits_float(0x7F7FFFFF)), 0x7F80);
  EXPECT_TRUE(bf16_fault(float_to_bf16(bits_float(0x7FFFFFFF))));
}

TEST_F(Numerics, F16ConvertsBothWays) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const float x = f16_to_float(static_cast<uint16_t>(h));
    if ((h & 0x7FFF) > 0x7C00) {
      EXPECT_NE(x, x);
      continue;
    }
    ASSERT_EQ(float_to_f16(x), h);
    const int exponent = h >> 10 & 31;
    if (exponent != 31) {
      const double value =
          std::ldexp((h & 0x3FF) + (exponent ? 1024 : 0), (exponent ? exponent : 1) - 25);
      ASSERT_EQ(double{x}, h & 0x8000 ? -value : value);
    }
  }
  EXPECT_EQ(float_to_f16(65519.0f), 0x7BFF);
  EXPECT_EQ(float_to_f16(65520.0f), 0x7C00);
  EXPECT_EQ(float_to_f16(0x1p-25f), 0);  // tie to even
  EXPECT_EQ(float_to_f16(0x1.8p-25f), 1);
  EXPECT_EQ(float_to_f16(0x1.8p-24f), 2);  // 1.5 denormal steps: tie to even
}

// In double the product of two floats is exact; adding rounds once more, so the check is exact only
// where that sum is.
TEST_F(Numerics, FmaIsFused) {
  const float a = 1.0f + 0x1p-23f;
  EXPECT_EQ(fma32(a, a, -(1.0f + 0x1p-22f)), 0x1p-46f);
  EXPECT_EQ(fma32(0x1p-100f, 0x1p-100f, 1.0f), 1.0f);
}

}  // namespace
}  // namespace stet::kernels
