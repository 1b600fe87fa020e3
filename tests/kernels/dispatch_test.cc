#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xmmintrin.h>

#include "kernels/dispatch/tables.h"
#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

using test::runnable_tables;

TEST(Dispatch, EveryTableIsCompleteAndFoundByName) {
  ASSERT_GE(all_tables().num, 2u);
  for (size_t i = 0; i < all_tables().num; ++i) {
    const KernelTable& t = *all_tables().tables[i];
    EXPECT_EQ(find_table(t.name), &t);
    EXPECT_TRUE(t.rms_norm && t.quantise && t.rms_norm_quantise && t.gate_quantise && t.add &&
                t.embed);
    EXPECT_TRUE(t.rope_q && t.rope_store_kv && t.attention && t.attention_segment &&
                t.attention_merge);
    EXPECT_TRUE(t.log_sum_exp && t.sample);
    for (const auto linear : t.linear) {
      EXPECT_NE(linear, nullptr);
    }
  }
  EXPECT_STREQ(all_tables().tables[all_tables().num - 1]->name, "scalar");
  EXPECT_EQ(find_table("mmx"), nullptr);
}

TEST(Dispatch, BestTableIsTheFirstThatRunsHereOrItsTwin) {
  const std::vector<const KernelTable*> runnable = runnable_tables();
  if (&best_table() != runnable.front()) {
    EXPECT_STREQ(runnable.front()->name, "avx512vnni");
    EXPECT_STREQ(best_table().name, "avx512vnni_fma");
  }
  for (const KernelTable* t : runnable_tables()) {
    EXPECT_TRUE(self_test(*t)) << t->name;
  }
}

void attention_with_noise(const AttentionArgs& args) {
  test::scalar_table().attention(args);
  args.out[7] = bits_float(float_bits(args.out[7]) ^ 1u);
}

void linear_with_noise(const LinearArgs& args) {
  test::scalar_table().linear[static_cast<int>(WeightType::kQ4_1)](args);
  args.out[3] = bits_float(float_bits(args.out[3]) ^ 1u);
}

TEST(Dispatch, SelfTestNoticesOneBit) {
  KernelTable wrong = test::scalar_table();
  EXPECT_TRUE(self_test(wrong));
  wrong.attention = attention_with_noise;
  EXPECT_FALSE(self_test(wrong));
  wrong = test::scalar_table();
  wrong.linear[static_cast<int>(WeightType::kQ4_1)] = linear_with_noise;
  EXPECT_FALSE(self_test(wrong));
}

void attention_sixteen_times(const AttentionArgs& args) {
  for (int i = 0; i < 16; ++i) {
    test::scalar_table().attention(args);
  }
}

TEST(Dispatch, TheFasterAttentionIsChosenWhereverItStands) {
  const KernelTable& fast = test::scalar_table();
  KernelTable slow = fast;
  slow.attention = attention_sixteen_times;
  EXPECT_EQ(&faster_attention(slow, fast), &fast);
  EXPECT_EQ(&faster_attention(fast, slow), &fast);
}

TEST(Dispatch, FloatEnvironmentIsSetPerThreadAndCheckable) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(0x1F80);
  EXPECT_FALSE(float_environment_ok());
  set_float_environment();
  EXPECT_TRUE(float_environment_ok());
  volatile float tiny = 0x1p-126f;
  EXPECT_EQ(tiny * 0.5f, 0.0f);         // flushed
  EXPECT_TRUE(float_environment_ok());  // sticky flags do not count
  _mm_setcsr(before);
}

TEST(Dispatch, SelfTestLeavesTheEnvironmentAsItWas) {
  const unsigned before = _mm_getcsr();
  self_test(test::scalar_table());
  EXPECT_EQ(_mm_getcsr() & ~0x3Fu, before & ~0x3Fu);
}

}  // namespace
}  // namespace stet::kernels
