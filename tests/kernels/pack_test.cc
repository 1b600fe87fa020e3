#include <gtest/gtest.h>

#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

constexpr WeightType kTypes[] = {WeightType::kF32,  WeightType::kF16,  WeightType::kBF16,
                                 WeightType::kQ4_0, WeightType::kQ4_1, WeightType::kQ8_0};

TEST(Pack, SizesAreThoseOfTheFileAndOfTheLayout) {
  EXPECT_EQ(file_row_bytes(WeightType::kQ4_1, 576), 18u * 20);
  EXPECT_EQ(file_row_bytes(WeightType::kQ8_0, 64), 68u);
  EXPECT_EQ(file_row_bytes(WeightType::kQ4_0, 48), 0u);  // no multiple of the block
  EXPECT_EQ(file_row_bytes(WeightType::kBF16, 48), 96u);
  EXPECT_EQ(packed_bytes(WeightType::kQ4_1, 576, 576), 18u * 18 * 640);
  EXPECT_EQ(packed_bytes(WeightType::kQ8_0, 33, 32), 2u * 1088);
}

TEST(Pack, EmbedGivesTheFileWeightsBack) {
  set_float_environment();
  test::Rng rng(1);
  for (const WeightType type : kTypes) {
    for (const uint32_t n : {1u, 31u, 32u, 33u, 70u}) {
      const uint32_t k = 96;
      const test::Weights w = test::make_weights(rng, type, n, k);
      for (const KernelTable* table : test::runnable_tables()) {
        for (uint32_t row = 0; row < n; ++row) {
          test::Buffer<float> out(k);
          table->embed(w.matrix, row, 1.0f, out.data());
          for (uint32_t col = 0; col < k; ++col) {
            ASSERT_EQ(out[col], file_weight(type, w.file.data(), k, row, col))
                << test::type_name(type) << " n " << n << " row " << row << " col " << col << " "
                << table->name;
          }
          table->embed(w.matrix, row, 24.0f, out.data());
          ASSERT_EQ(out[5], file_weight(type, w.file.data(), k, row, 5) * 24.0f);
        }
      }
    }
  }
}

// Values written out by hand from the format's description.
TEST(Pack, FileWeightReadsTheBlockFormats) {
  std::vector<std::byte> q41(20, std::byte{0});
  test::put_u16(q41.data(), float_to_f16(0.5f));
  test::put_u16(q41.data() + 2, float_to_f16(-3.0f));
  q41[4 + 1] = std::byte{0xA3};  // element 1 = 3, element 17 = 10
  EXPECT_EQ(file_weight(WeightType::kQ4_1, q41.data(), 32, 0, 1), 3 * 0.5f - 3.0f);
  EXPECT_EQ(file_weight(WeightType::kQ4_1, q41.data(), 32, 0, 17), 10 * 0.5f - 3.0f);
  std::vector<std::byte> q40(18, std::byte{0});
  test::put_u16(q40.data(), float_to_f16(0.25f));
  q40[2 + 15] = std::byte{0x1F};  // element 15 = 15 - 8, element 31 = 1 - 8
  EXPECT_EQ(file_weight(WeightType::kQ4_0, q40.data(), 32, 0, 15), 7 * 0.25f);
  EXPECT_EQ(file_weight(WeightType::kQ4_0, q40.data(), 32, 0, 31), -7 * 0.25f);
  std::vector<std::byte> q80(34, std::byte{0});
  test::put_u16(q80.data(), float_to_f16(2.0f));
  q80[2 + 9] = static_cast<std::byte>(-128);
  EXPECT_EQ(file_weight(WeightType::kQ8_0, q80.data(), 32, 0, 9), -256.0f);
}

TEST(Pack, PanelsInAnyOrderGiveTheSameBytes) {
  test::Rng rng(2);
  for (const WeightType type : kTypes) {
    const test::Weights w = test::make_weights(rng, type, 100, 64);
    test::Buffer<std::byte> other(w.panels.size());
    for (const uint32_t panel : {2u, 0u, 3u, 1u}) {
      ASSERT_TRUE(pack_panels(type, w.file.data(), 100, 64, panel, panel + 1, other.data()));
    }
    EXPECT_EQ(std::memcmp(other.data(), w.panels.data(), other.size()), 0);
  }
}

TEST(Pack, NonFiniteScalesAndWeightsAreRefused) {
  test::Rng rng(3);
  for (const WeightType type : kTypes) {
    test::Weights w = test::make_weights(rng, type, 40, 64);
    const size_t row = file_row_bytes(type, 64);
    std::byte* last = w.file.data() + 39 * row;  // first element or block of the last row
    if (type == WeightType::kF32) {
      const float nan = std::numeric_limits<float>::quiet_NaN();
      std::memcpy(last, &nan, 4);
    } else {
      test::put_u16(last, type == WeightType::kBF16 ? 0x7F80 : 0x7C00);
    }
    EXPECT_TRUE(pack_panels(type, w.file.data(), 40, 64, 0, 1, w.panels.data()))
        << test::type_name(type);
    EXPECT_FALSE(pack_panels(type, w.file.data(), 40, 64, 1, 2, w.panels.data()))
        << test::type_name(type);
  }
  test::Weights w = test::make_weights(rng, WeightType::kQ4_1, 32, 32);
  test::put_u16(w.file.data() + 2, 0xFC00);  // the minimum counts as well
  EXPECT_FALSE(pack_panels(WeightType::kQ4_1, w.file.data(), 32, 32, 0, 1, w.panels.data()));
}

}  // namespace
}  // namespace stet::kernels
