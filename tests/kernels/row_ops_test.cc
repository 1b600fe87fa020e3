#include <gtest/gtest.h>

#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

using test::Buffer;
using test::Rng;

const float kNan = std::numeric_limits<float>::quiet_NaN();
const float kInf = std::numeric_limits<float>::infinity();

class RowOps : public ::testing::Test {
 protected:
  void SetUp() override { set_float_environment(); }
  Rng rng_{11};
};

TEST_F(RowOps, QuantiseEqualsTheDefinitionForEveryShapeAndOutlierList) {
  for (const test::Shape shape : test::kShapes) {
    for (const uint32_t k : {32u, 64u, 512u, 544u, 576u, 1536u}) {
      for (const uint32_t num : {0u, 1u, 4u, 8u}) {
        const test::OutlierList outliers(rng_, k, num);
        const Buffer<float> x = test::floats(rng_, k, shape);
        test::Rows expected(3, k);
        const bool fault =
            test::scalar_table().quantise(x.data(), outliers.view(), expected.view(), 1);
        for (const KernelTable* table : test::runnable_tables()) {
          test::Rows out(3, k);
          EXPECT_EQ(table->quantise(x.data(), outliers.view(), out.view(), 1), fault);
          EXPECT_TRUE(out == expected) << table->name << " k " << k << " outliers " << num;
        }
      }
    }
  }
}

// C3 written once more from its text, in double and integers where that is exact.
TEST_F(RowOps, QuantisedGroupFollowsC3) {
  const uint32_t k = 64;
  const test::OutlierList outliers(rng_, k, 2);
  for (int trial = 0; trial < 200; ++trial) {
    const Buffer<float> x =
        test::floats(rng_, k, trial % 2 ? test::Shape::kNormal : test::Shape::kHeavy);
    for (const KernelTable* table : test::runnable_tables()) {
      test::Rows out(1, k);
      ASSERT_FALSE(table->quantise(x.data(), outliers.view(), out.view(), 0));
      for (uint32_t g = 0; g < k / kGroup; ++g) {
        float a = 0;
        for (uint32_t c = g * kGroup; c < (g + 1) * kGroup; ++c) {
          const bool outlier = !(outliers.keep[g] >> c % kGroup & 1);
          a = outlier ? a : std::max(a, std::fabs(x[c]));
        }
        const float r = 127.0f / a;
        int sums[2] = {0, 0};  // of both halves of the group
        for (uint32_t c = g * kGroup; c < (g + 1) * kGroup; ++c) {
          const bool outlier = !(outliers.keep[g] >> c % kGroup & 1);
          const int q = outlier ? 0 : static_cast<int>(std::nearbyint(x[c] * r));
          ASSERT_EQ(out.q[c], q);
          ASSERT_LE(std::abs(q), 127);
          sums[c % kGroup / 16] += q;
          if (!outlier) {  // the code is the nearest: |x - q*s| <= s/2 plus the rounding of r, s
                           // and x*r
            ASSERT_NEAR(x[c], q * double{out.s[g]}, double{out.s[g]} * (0.5 + 127 * 3 * 0x1p-24));
          }
        }
        ASSERT_EQ(out.s[g], a / 127.0f);
        ASSERT_EQ(static_cast<int16_t>(out.a[g] & 0xFFFF), sums[0]);
        ASSERT_EQ(out.a[g] >> 16, sums[1]);
        ASSERT_EQ(out.t[g], static_cast<float>(sums[0] + sums[1]) * out.s[g]);
      }
      for (uint32_t o = 0; o < 2; ++o) {
        ASSERT_EQ(out.xo[o], x[outliers.channels[o]]);
      }
    }
  }
}

TEST_F(RowOps, TinyGroupsAreZeroAndTheBorderIsTwoToMinus80) {
  for (const KernelTable* table : test::runnable_tables()) {
    for (const float a : {0x1p-80f, bits_float(float_bits(0x1p-80f) - 1), 0x1p-120f, 0x1p-140f}) {
      Buffer<float> x(32, 0.0f);
      x[9] = -a;
      test::Rows out(1, 32);
      EXPECT_FALSE(table->quantise(x.data(), {}, out.view(), 0));
      EXPECT_EQ(out.q[9], a >= 0x1p-80f ? -127 : 0) << table->name << " " << a;
      EXPECT_EQ(out.s[0], a >= 0x1p-80f ? a / 127.0f : 0.0f);
    }
  }
}

TEST_F(RowOps, ANonFiniteElementIsAFaultAndTheRowIsZeros) {
  const uint32_t k = 576;
  const test::OutlierList outliers(rng_, k, 2);
  const test::Rows zeros(2, k);
  for (const KernelTable* table : test::runnable_tables()) {
    for (const float bad : {kNan, -kNan, kInf, -kInf}) {
      for (const uint32_t at : {0u, 31u, 575u, outliers.channels[0], outliers.channels[1]}) {
        Buffer<float> x = test::floats(rng_, k);
        x[at] = bad;
        test::Rows out(2, k);
        EXPECT_TRUE(table->quantise(x.data(), outliers.view(), out.view(), 1))
            << table->name << " at " << at;
        EXPECT_TRUE(out == zeros) << table->name << " at " << at;
        const Buffer<float> ones(k, 1.0f);
        EXPECT_TRUE(
            table->rms_norm_quantise(x.data(), ones.data(), 1e-5f, outliers.view(), out.view(), 1));
        EXPECT_TRUE(out == zeros);
        EXPECT_TRUE(table->gate_quantise(GateKind::kSilu, ones.data(), x.data(), outliers.view(),
                                         out.view(), 1));
        EXPECT_TRUE(out == zeros);
        Buffer<float> y(k, 5.0f);
        EXPECT_TRUE(table->rms_norm(x.data(), ones.data(), k, 1e-5f, y.data()));
        EXPECT_TRUE(test::same_bits(y, Buffer<float>(k)));
      }
    }
  }
}

TEST_F(RowOps, SumOfSquaresOverflowIsAFault) {
  const Buffer<float> x(96, 0x1p70f);
  for (const KernelTable* table : test::runnable_tables()) {
    Buffer<float> y(96, 1.0f);
    EXPECT_TRUE(table->rms_norm(x.data(), x.data(), 96, 1e-5f, y.data())) << table->name;
    EXPECT_EQ(y[0], 0.0f);
  }
}

TEST_F(RowOps, RmsNormEqualsTheDefinitionAndFusedEqualsUnfused) {
  for (const test::Shape shape : test::kShapes) {
    for (const uint32_t k : {1u, 15u, 16u, 63u, 64u, 65u, 100u, 576u, 1024u + 32u}) {
      const Buffer<float> x = test::floats(rng_, k, shape);
      const Buffer<float> w = test::floats(rng_, k);
      Buffer<float> expected(k);
      const bool fault =
          test::scalar_table().rms_norm(x.data(), w.data(), k, 1e-5f, expected.data());
      for (const KernelTable* table : test::runnable_tables()) {
        Buffer<float> y(k);
        EXPECT_EQ(table->rms_norm(x.data(), w.data(), k, 1e-5f, y.data()), fault);
        EXPECT_TRUE(test::same_bits(y, expected)) << table->name << " k " << k;
        Buffer<float> in_place = x;
        table->rms_norm(in_place.data(), w.data(), k, 1e-5f, in_place.data());
        EXPECT_TRUE(test::same_bits(in_place, expected)) << table->name << " in place";
        test::Rows apart(2, k);
        test::Rows fused(2, k);
        const bool quantised = k % kGroup == 0;
        const LinearInput a = quantised ? apart.view() : apart.float_view();
        const LinearInput b = quantised ? fused.view() : fused.float_view();
        const test::OutlierList outliers(rng_, k, quantised ? 3 : 0);
        table->quantise(y.data(), outliers.view(), a, 1);
        table->rms_norm_quantise(x.data(), w.data(), 1e-5f, outliers.view(), b, 1);
        EXPECT_TRUE(apart == fused) << table->name << " k " << k;
      }
    }
  }
}

// |y - exact| <= a few roundings: ss has n/64 + 6 rounded additions of non-negative terms, then
// five operations.
TEST_F(RowOps, RmsNormOracleInDouble) {
  const uint32_t n = 576;
  const Buffer<float> x = test::floats(rng_, n, test::Shape::kHeavy);
  const Buffer<float> w = test::floats(rng_, n);
  double ss = 0;
  for (const float v : x) {
    ss += double{v} * v;
  }
  const double r = 1.0 / std::sqrt(ss / n + double{1e-5f});
  for (const KernelTable* table : test::runnable_tables()) {
    Buffer<float> y(n);
    table->rms_norm(x.data(), w.data(), n, 1e-5f, y.data());
    for (uint32_t i = 0; i < n; ++i) {
      const double exact = x[i] * r * w[i];
      EXPECT_NEAR(y[i], exact, std::fabs(exact) * (n / 64 + 6 + 6) * 0x1p-24) << table->name;
    }
  }
}

TEST_F(RowOps, GatesEqualTheDefinitionAndTheirFormula) {
  for (const GateKind kind : {GateKind::kSilu, GateKind::kGeluTanh}) {
    for (const test::Shape shape : test::kShapes) {
      for (const uint32_t k : {7u, 32u, 96u, 1536u}) {
        const Buffer<float> g = test::floats(rng_, k, shape);
        const Buffer<float> u = test::floats(rng_, k);
        const test::OutlierList outliers(rng_, k, k % kGroup == 0 ? 4 : 0);
        test::Rows expected(1, k);
        const LinearInput e = k % kGroup == 0 ? expected.view() : expected.float_view();
        const bool fault =
            test::scalar_table().gate_quantise(kind, g.data(), u.data(), outliers.view(), e, 0);
        for (const KernelTable* table : test::runnable_tables()) {
          test::Rows out(1, k);
          const LinearInput o = k % kGroup == 0 ? out.view() : out.float_view();
          EXPECT_EQ(table->gate_quantise(kind, g.data(), u.data(), outliers.view(), o, 0), fault);
          EXPECT_TRUE(out == expected) << table->name << " k " << k;
        }
        for (uint32_t i = 0; i < k && !fault && shape == test::Shape::kNormal; ++i) {
          const double x = g[i];
          const double t = std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
          const double exact =
              (kind == GateKind::kSilu ? x / (1 + std::exp(-x)) : 0.5 * x * (1 + t)) * u[i];
          // exp2's argument carries 2^-23 relative error: times ln2 * |argument| <= 60 in the
          // exponential.
          EXPECT_NEAR(expected.x[i], exact, std::fabs(exact) * 60 * 0x1p-23 + 1e-9);
        }
      }
    }
  }
}

TEST_F(RowOps, AddIsTheResidual) {
  for (const uint32_t n : {1u, 16u, 17u, 576u}) {
    const Buffer<float> x = test::floats(rng_, n);
    const Buffer<float> y = test::floats(rng_, n);
    for (const KernelTable* table : test::runnable_tables()) {
      Buffer<float> sum = y;
      table->add(x.data(), n, sum.data());
      for (uint32_t i = 0; i < n; ++i) {
        EXPECT_EQ(sum[i], y[i] + x[i]);
      }
    }
  }
}

struct Angles {
  Angles(Rng& rng, uint32_t n) : cos(n), sin(n) {
    for (uint32_t i = 0; i < n; ++i) {
      const double a = rng.uniform() * 1000;
      cos[i] = static_cast<float>(std::cos(a));
      sin[i] = static_cast<float>(std::sin(a));
    }
  }
  Buffer<float> cos, sin;
};

TEST_F(RowOps, RopeAndKvWriteEqualTheDefinition) {
  for (const RopeStyle style : {RopeStyle::kAdjacent, RopeStyle::kHalves}) {
    for (const uint32_t head_dim : {2u, 6u, 16u, 48u, 64u, 80u, 128u, 256u}) {
      for (const uint32_t rope_dim : {0u, head_dim / 2 / 2 * 2, head_dim}) {
        const Angles angles(rng_, rope_dim / 2 + 1);
        const test::Shape shape = test::kShapes[rng_.below(std::size(test::kShapes))];
        const Buffer<float> k = test::floats(rng_, head_dim, shape);
        const Buffer<float> v = test::floats(rng_, head_dim, shape);
        Buffer<uint16_t> q_expected(head_dim);
        const bool q_fault =
            test::scalar_table().rope_q(style, k.data(), angles.cos.data(), angles.sin.data(),
                                        head_dim, rope_dim, 0.1803f, q_expected.data());
        const uint32_t pos = rng_.below(kTile);
        const size_t bytes = size_t{kTile} * head_dim * 4;
        Buffer<std::byte> tile_expected(bytes, std::byte{0xFF});
        const bool fault = test::scalar_table().rope_store_kv(
            style, k.data(), v.data(), angles.cos.data(), angles.sin.data(), head_dim, rope_dim,
            tile_expected.data(), pos);
        for (const KernelTable* table : test::runnable_tables()) {
          Buffer<uint16_t> q(head_dim);
          EXPECT_EQ(table->rope_q(style, k.data(), angles.cos.data(), angles.sin.data(), head_dim,
                                  rope_dim, 0.1803f, q.data()),
                    q_fault);
          EXPECT_TRUE(test::same_bits(q, q_expected))
              << table->name << " dim " << head_dim << " rope " << rope_dim;
          Buffer<std::byte> tile(bytes, std::byte{0xFF});
          EXPECT_EQ(table->rope_store_kv(style, k.data(), v.data(), angles.cos.data(),
                                         angles.sin.data(), head_dim, rope_dim, tile.data(), pos),
                    fault);
          EXPECT_EQ(std::memcmp(tile.data(), tile_expected.data(), bytes), 0)
              << table->name << " dim " << head_dim;
        }
      }
    }
  }
}

TEST_F(RowOps, RopeRotatesThePairsOfItsStyle) {
  const Buffer<float> x = {1, 2, 3, 4};
  const Buffer<float> cos = {0, 1};  // pair 0 by a quarter turn, pair 1 not at all
  const Buffer<float> sin = {1, 0};
  for (const KernelTable* table : test::runnable_tables()) {
    Buffer<uint16_t> q(4);
    table->rope_q(RopeStyle::kAdjacent, x.data(), cos.data(), sin.data(), 4, 4, 1.0f, q.data());
    const float adjacent[] = {-2, 1, 3, 4};
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(bf16_to_float(q[i]), adjacent[i]) << table->name;
    }
    table->rope_q(RopeStyle::kHalves, x.data(), cos.data(), sin.data(), 4, 4, 1.0f, q.data());
    const float halves[] = {-3, 2, 1, 4};
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(bf16_to_float(q[i]), halves[i]) << table->name;
    }
  }
}

TEST_F(RowOps, HugeOrNonFiniteQueriesKeysAndValuesAreFaultsAndZeros) {
  const uint32_t dim = 64;
  const Buffer<float> cos(32, 1.0f);
  const Buffer<float> sin(32, 0.0f);
  const float below = bits_float(0x5B7F0000);  // the largest bf16 under 2^56
  for (const KernelTable* table : test::runnable_tables()) {
    for (const float bad : {kNan, kInf, -kInf, 0x1p56f, -0x1p56f, below}) {
      for (const uint32_t at : {0u, 31u, 63u}) {
        const bool fault = bad != below;
        Buffer<float> x = test::floats(rng_, dim);
        const Buffer<float> good = test::floats(rng_, dim);
        x[at] = bad;
        Buffer<uint16_t> q(dim, 7);
        EXPECT_EQ(table->rope_q(RopeStyle::kHalves, x.data(), cos.data(), sin.data(), dim, dim,
                                1.0f, q.data()),
                  fault)
            << table->name << " " << bad;
        EXPECT_TRUE(!fault || test::same_bits(q, Buffer<uint16_t>(dim)));
        for (const bool in_k : {true, false}) {
          Buffer<std::byte> tile(kTile * dim * 4, std::byte{0xFF});
          EXPECT_EQ(table->rope_store_kv(RopeStyle::kAdjacent, in_k ? x.data() : good.data(),
                                         in_k ? good.data() : x.data(), cos.data(), sin.data(), dim,
                                         dim, tile.data(), 5),
                    fault);
          uint16_t k0, v0;
          std::memcpy(&k0, tile.data() + 5 * 4, 2);
          std::memcpy(&v0, tile.data() + kTile * dim * 2 + 2 * dim * 4 + 2, 2);
          EXPECT_TRUE(!fault || (k0 == 0 && v0 == 0)) << table->name;
        }
      }
    }
  }
}

TEST_F(RowOps, AKvWriteTouchesItsOwnSlotOnly) {
  const uint32_t dim = 80;
  const Buffer<float> x = test::floats(rng_, dim);
  const Buffer<float> one(40, 1.0f);
  for (const KernelTable* table : test::runnable_tables()) {
    for (uint32_t pos = 0; pos < kTile; ++pos) {
      Buffer<std::byte> tile(kTile * dim * 4, std::byte{0xFF});
      table->rope_store_kv(RopeStyle::kHalves, x.data(), x.data(), one.data(), one.data(), dim, dim,
                           tile.data(), pos);
      size_t changed = 0;
      for (size_t i = 0; i < tile.size(); i += 2) {
        uint16_t v;
        std::memcpy(&v, tile.data() + i, 2);
        if (v == 0xFFFF) {
          continue;
        }
        ++changed;
        const size_t in_half = i % (kTile * dim * 2);
        const size_t slot =
            i < kTile * dim * 2 ? in_half / 4 % kTile : in_half / (dim * 4) * 2 + in_half / 2 % 2;
        ASSERT_EQ(slot, pos) << table->name;
      }
      ASSERT_EQ(changed, 2 * dim) << table->name << " slot " << pos;
    }
  }
}

}  // namespace
}  // namespace stet::kernels
