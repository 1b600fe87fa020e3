#include <gtest/gtest.h>

#include "kernels/numerics/exp2.h"
#include "kernels/numerics/log2.h"
#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

using test::Buffer;
using test::Rng;

__extension__ typedef unsigned __int128 Wide;

// ---- C7 once more, naively: full sort, 128-bit sums, its own Philox (words of the paper's
// known-answer test).
struct Naive {
  static void philox(uint32_t c[4], uint32_t k0, uint32_t k1) {
    for (int i = 0; i < 10; ++i) {
      const uint64_t a = uint64_t{0xD2511F53u} * c[0];
      const uint64_t b = uint64_t{0xCD9E8D57u} * c[2];
      const uint32_t n[4] = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(b),
                             static_cast<uint32_t>(a >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(a)};
      std::memcpy(c, n, sizeof n);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
  }

  static uint32_t sample(const SampleArgs& a) {
    std::vector<uint32_t> order(a.vocab);
    for (uint32_t i = 0; i < a.vocab; ++i) {
      order[i] = i;
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t l, uint32_t r) { return a.logits[l] > a.logits[r]; });
    if (a.temperature < 0x1p-100f) {
      return order[0];
    }
    const float max = a.logits[order[0]] + 0.0f;
    const float c = kLog2E / a.temperature;
    std::vector<float> e(a.vocab);
    std::vector<uint64_t> w(a.vocab);
    for (uint32_t i = 0; i < a.vocab; ++i) {
      e[i] = exp2_c6((a.logits[i] - max) * c);
      w[i] = static_cast<uint64_t>(std::ldexp(double{e[i]}, 40));
    }
    size_t kept = a.top_k ? std::min<size_t>(a.top_k, a.vocab) : a.vocab;
    Wide sum = 0;
    for (size_t i = 0; i < kept; ++i) {
      sum += w[order[i]];
    }
    const Wide target = (sum * static_cast<uint64_t>(std::ldexp(double{a.top_p}, 32))) >> 32;
    Wide prefix = 0;
    for (size_t i = 0; i < kept && a.top_p < 1.0f; ++i) {
      prefix += w[order[i]];
      if (prefix >= target) {
        kept = i + 1;
      }
    }
    std::vector<uint32_t> ids;
    for (size_t i = 0; i < kept; ++i) {
      if (e[order[i]] >= a.min_p) {
        ids.push_back(order[i]);
      }
    }
    std::sort(ids.begin(), ids.end());
    sum = 0;
    for (const uint32_t id : ids) {
      sum += w[id];
    }
    uint32_t counter[4] = {a.output_pos, a.choice, 0, 0};
    philox(counter, static_cast<uint32_t>(a.seed), static_cast<uint32_t>(a.seed >> 32));
    const Wide threshold = (sum * (counter[0] | uint64_t{counter[1]} << 32)) >> 64;
    Wide cumulative = 0;
    for (const uint32_t id : ids) {
      cumulative += w[id];
      if (cumulative > threshold) {
        return id;
      }
    }
    return ~0u;
  }
};

class Sample : public ::testing::Test {
 protected:
  void SetUp() override { set_float_environment(); }
  Rng rng_{31};

  Buffer<float> logits(uint32_t vocab, float spread) {
    Buffer<float> x(vocab);
    for (float& v : x) {
      v = rng_.normal() * spread;
      if (rng_.below(4) == 0) {
        v = std::nearbyint(v);  // ties, and zeros of both signs
      }
    }
    return x;
  }

  void check(SampleArgs args) {
    const uint32_t expected = Naive::sample(args);
    ASSERT_LT(expected, args.vocab);
    for (const KernelTable* table : test::runnable_tables()) {
      Buffer<std::byte> scratch(sample_scratch_bytes(args.vocab), std::byte{0xCC});
      args.scratch = scratch.data();
      ASSERT_EQ(table->sample(args), expected)
          << table->name << " vocab " << args.vocab << " T " << args.temperature << " k "
          << args.top_k << " p " << args.top_p << " min_p " << args.min_p << " seed " << args.seed;
    }
  }
};

TEST_F(Sample, EqualsTheNaiveBigIntegerSampler) {
  for (const uint32_t vocab : {1u, 2u, 16u, 100u, 4096u, 4097u, 9000u}) {
    for (const float spread : {0.0f, 0.5f, 3.0f, 20.0f}) {
      const Buffer<float> x = logits(vocab, spread);
      for (const float temperature : {0.0f, 0.7f, 1.0f, 2.0f}) {
        for (const uint32_t top_k : {0u, 1u, 2u, 40u, 100000u}) {
          for (const float top_p : {1.0f, 0.9f, 0.3f, 0.0f}) {
            SampleArgs args{x.data(),   vocab, temperature,
                            top_k,      top_p, rng_.below(3) == 0 ? 0.05f : 0.0f,
                            rng_.next()};
            args.output_pos = rng_.below(1000);
            args.choice = rng_.below(4);
            check(args);
          }
        }
      }
    }
  }
}

TEST_F(Sample, RealVocabularyWithManyDraws) {
  const Buffer<float> x = logits(49152, 2.5f);
  for (uint64_t seed = 0; seed < 12; ++seed) {
    check({x.data(), 49152, 1.0f, 0, 0.95f, 0.0f, seed});
    check({x.data(), 49152, 0.8f, 50, 0.9f, 0.02f, seed});
    check({x.data(), 49152, 1.5f, 0, 1.0f, 0.0f, seed});
  }
}

TEST_F(Sample, BarredIdsAreNeverDrawn) {
  Buffer<float> x = logits(5000, 1.0f);
  for (uint32_t i = 0; i < 5000; ++i) {
    if (i != 77 && i != 4999) {
      x[i] = -std::numeric_limits<float>::infinity();
    }
  }
  for (uint64_t seed = 0; seed < 50; ++seed) {
    for (const uint32_t top_k : {0u, 10u}) {
      SampleArgs args{x.data(), 5000, 1.0f, top_k, 1.0f, 0.0f, seed};
      check(args);
    }
  }
}

TEST_F(Sample, GreedyTakesTheLowestIdOfATieAndTheTwoZerosAreOne) {
  Buffer<float> x(100, -1.0f);
  x[40] = 0.0f;
  x[20] = -0.0f;
  x[60] = 0.0f;
  for (const KernelTable* table : test::runnable_tables()) {
    SampleArgs args{x.data(), 100, 0.0f};
    EXPECT_EQ(table->sample(args), 20u) << table->name;
    EXPECT_EQ(table->log_sum_exp(x.data(), 100).argmax, 20u);
    EXPECT_EQ(float_bits(table->log_sum_exp(x.data(), 100).max), 0u);
  }
}

TEST_F(Sample, FrequenciesFollowTheProbabilities) {
  const Buffer<float> x = {std::log(0.5f), std::log(0.25f), std::log(0.25f)};
  for (const KernelTable* table : test::runnable_tables()) {
    Buffer<std::byte> scratch(sample_scratch_bytes(3));
    int counts[3] = {};
    const int n = 20000;
    for (int i = 0; i < n; ++i) {
      SampleArgs args{x.data(), 3, 1.0f, 0, 1.0f, 0.0f, 99};
      args.output_pos = static_cast<uint32_t>(i);
      args.scratch = scratch.data();
      ++counts[table->sample(args)];
    }
    // Five standard deviations of a binomial count; the draw is fixed by the seed, so this cannot
    // flicker.
    EXPECT_NEAR(counts[0], n / 2, 5 * std::sqrt(n * 0.25)) << table->name;
    EXPECT_NEAR(counts[1], n / 4, 5 * std::sqrt(n * 0.1875)) << table->name;
  }
}

TEST_F(Sample, EverySeedPositionAndChoiceIsItsOwnDraw) {
  const Buffer<float> x(4096, 1.0f);
  Buffer<std::byte> scratch(sample_scratch_bytes(4096));
  SampleArgs base{x.data(), 4096, 1.0f, 0, 1.0f, 0.0f, 5};
  base.scratch = scratch.data();
  for (const KernelTable* table : test::runnable_tables()) {
    SampleArgs other = base;
    const uint32_t id = table->sample(base);
    EXPECT_EQ(table->sample(base), id);
    other.seed = 5 | uint64_t{1} << 40;
    EXPECT_NE(table->sample(other), id);
    other = base;
    other.output_pos = 1;
    EXPECT_NE(table->sample(other), id);
    other = base;
    other.choice = 1;
    EXPECT_NE(table->sample(other), id);
  }
}

TEST_F(Sample, LogSumExpEqualsTheDefinitionAndDouble) {
  for (const uint32_t n : {1u, 15u, 64u, 65u, 4095u, 4096u, 4097u, 49152u}) {
    for (const float spread : {0.0f, 1.0f, 10.0f, 1000.0f}) {
      const Buffer<float> x = logits(n, spread);
      const LogSumExp expected = test::scalar_table().log_sum_exp(x.data(), n);
      double sum = 0;
      for (const float v : x) {
        sum += std::exp(double{v} - double{expected.max});
      }
      // log-probability of an id: the exponentials carry 2^-23 * |x - M| * ln2 <= 125 * 2^-23, the
      // sum n/64 + 7 roundings of 2^-24, (x-M) and the result one each.
      const double bound = (250.0 + n / 64 + 10) * 0x1p-24;
      for (const uint32_t id : {0u, n / 2, expected.argmax}) {
        const double exact = double{x[id]} - double{expected.max} - std::log(sum);
        EXPECT_NEAR(logprob(expected, x[id]), exact, bound + std::fabs(exact) * 0x1p-22)
            << n << " " << spread;
      }
      for (const KernelTable* table : test::runnable_tables()) {
        const LogSumExp found = table->log_sum_exp(x.data(), n);
        EXPECT_EQ(float_bits(found.max), float_bits(expected.max)) << table->name;
        EXPECT_EQ(float_bits(found.log2_sum), float_bits(expected.log2_sum))
            << table->name << " n " << n;
        EXPECT_EQ(found.argmax,
                  static_cast<uint32_t>(std::max_element(x.begin(), x.end()) - x.begin()));
        EXPECT_TRUE(found.finite);
      }
    }
  }
}

TEST_F(Sample, NonFiniteLogitsAreReported) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (const uint32_t at : {0u, 70u, 99u}) {
      Buffer<float> x = logits(100, 1.0f);
      x[at] = bad;
      for (const KernelTable* table : test::runnable_tables()) {
        EXPECT_FALSE(table->log_sum_exp(x.data(), 100).finite) << table->name;
        Buffer<std::byte> scratch(sample_scratch_bytes(100));
        for (const uint32_t top_k : {0u, 5u}) {  // whatever it returns is an id
          SampleArgs args{x.data(), 100, 1.0f, top_k, 0.9f, 0.0f, 1};
          args.scratch = scratch.data();
          EXPECT_LT(table->sample(args), 100u) << table->name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace stet::kernels
