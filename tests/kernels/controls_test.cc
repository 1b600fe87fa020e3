// The negative controls themselves: each planted mistake changes the bits of its own operation and
// of no other.
#include "tests/support/wrong_kernels.h"

#include <gtest/gtest.h>

#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

using test::Buffer;
using test::Rng;

Buffer<float> attend(const KernelTable& table, uint32_t window) {
  set_float_environment();
  Rng rng(51);
  constexpr uint32_t kPositions = 1100;
  const KvTileLayout layout{1, 1, 64, kTile};
  Buffer<std::byte> bytes(layout.block_bytes() * (kPositions / kTile + 1));
  AttentionArgs args;
  args.kv = {bytes.data(), nullptr, layout.block_bytes(), kPositions / kTile + 1, kTile};
  args.head_dim = 64;
  args.num_heads = 3;
  args.first_pos = 1030;  // no multiple of a tile
  args.num_queries = 20;
  args.window = window;
  for (uint32_t pos = 0; pos < kPositions; ++pos) {
    const Buffer<float> k = test::floats(rng, 64);
    const Buffer<float> v = test::floats(rng, 64);
    test::scalar_table().rope_store_kv(RopeStyle::kHalves, k.data(), v.data(), nullptr, nullptr, 64,
                                       0, args.kv.block(pos / kTile), pos % kTile);
  }
  Buffer<uint16_t> q(20 * 192);
  for (uint16_t& x : q) {
    x = float_to_bf16(rng.normal() * 0.3f);
  }
  Buffer<float> out(20 * 192);
  args.q = q.data();
  args.ldq = args.ldo = 192;
  args.out = out.data();
  table.attention(args);
  return out;
}

Buffer<float> multiply(const KernelTable& table) {
  set_float_environment();
  Rng rng(52);
  const test::Weights w = test::make_weights(rng, WeightType::kQ4_1, 64, 256);
  test::Rows in(4, 256);
  for (uint32_t r = 0; r < 4; ++r) {
    const Buffer<float> x =
        test::floats(rng, 256, r % 2 ? test::Shape::kNormal : test::Shape::kHeavy);
    table.quantise(x.data(), {}, in.view(), r);
  }
  Buffer<float> out(4 * 64);
  const LinearArgs args{&w.matrix, in.view(), 4, 0, 2, out.data(), 64};
  table.linear[static_cast<int>(WeightType::kQ4_1)](args);
  return out;
}

uint32_t draw_twice(const KernelTable& table) {
  const Buffer<float> x(4096, 1.0f);
  Buffer<std::byte> scratch(sample_scratch_bytes(4096));
  SampleArgs args{x.data(), 4096, 1.0f, 0, 1.0f, 0.0f, 5};
  args.scratch = scratch.data();
  const uint32_t first = table.sample(args);
  return table.sample(args) - first;
}

TEST(WrongKernels, EachChangesItsOwnOperationOnly) {
  EXPECT_EQ(wrong_kernel_tables().size(), 6u);
  for (const WrongKernels& wrong : wrong_kernel_tables()) {
    const std::string name = wrong.name;
    const bool attention = name.rfind("attention", 0) == 0;
    const bool linear = name.rfind("linear", 0) == 0 || name.rfind("quantise", 0) == 0;
    EXPECT_EQ(!test::same_bits(attend(wrong.table, 0), attend(test::scalar_table(), 0)), attention)
        << name;
    EXPECT_EQ(!test::same_bits(multiply(wrong.table), multiply(test::scalar_table())), linear)
        << name;
    EXPECT_EQ(draw_twice(wrong.table) != 0, name.rfind("sample", 0) == 0) << name;
    EXPECT_STREQ(wrong.table.name, wrong.name);
  }
}

// Wrong in order only: a mistake that changed values beyond rounding would be found by any test.
TEST(WrongKernels, AttentionMistakesAreRoundingSmall) {
  const Buffer<float> right = attend(test::scalar_table(), 700);
  for (const WrongKernels& wrong : wrong_kernel_tables()) {
    const Buffer<float> found = attend(wrong.table, 700);
    for (size_t i = 0; i < right.size(); ++i) {
      ASSERT_NEAR(found[i], right[i], 0.01) << wrong.name;
    }
  }
}

}  // namespace
}  // namespace stet::kernels
