#include <gtest/gtest.h>

#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

TEST(Pack, SizesAreThoseOfTheFileAndOfTheLayout) {
  EXPECT_EQ(file_row_bytes(WeightType::kQ4_1, 576), 18u * 20);
  EXPECT_EQ(file_row_bytes(WeightType::kQ8_0, 64), 68u);
  EXPECT_EQ(file_row_bytes(WeightType::kQ4_0, 48), 0u);  // no multiple of the block
  EXPECT_EQ(file_row_bytes(WeightType::kBF16, 48), 96u);
  EXPECT_EQ(file_row_bytes(WeightType::kQ5_0, 64), 44u);
  EXPECT_EQ(file_row_bytes(WeightType::kQ4_K, 512), 288u);
  EXPECT_EQ(file_row_bytes(WeightType::kQ6_K, 512), 420u);
  EXPECT_EQ(file_row_bytes(WeightType::kQ2_K, 512), 168u);
  EXPECT_EQ(file_row_bytes(WeightType::kQ3_K, 512), 220u);
  EXPECT_EQ(file_row_bytes(WeightType::kIQ4_NL, 64), 36u);
  EXPECT_EQ(file_row_bytes(WeightType::kQ4_K, 576), 0u);
  EXPECT_EQ(file_row_bytes(WeightType::kQ3_K, 576), 0u);
  EXPECT_EQ(packed_bytes(WeightType::kQ4_1, 576, 576), 18u * 18 * 640);
  EXPECT_EQ(packed_bytes(WeightType::kQ8_0, 33, 32), 2u * 1088);
  EXPECT_EQ(packed_bytes(WeightType::kQ2_K, 64, 512), 64 * file_row_bytes(WeightType::kQ2_K, 512));
  EXPECT_EQ(packed_bytes(WeightType::kQ3_K, 64, 512), 2u * 2 * 3648);
  EXPECT_EQ(packed_bytes(WeightType::kIQ4_NL, 32, 64), 2u * 576);
}

TEST(Pack, EmbedGivesTheFileWeightsBack) {
  set_float_environment();
  test::Rng rng(1);
  for (const WeightType type : test::kAllTypes) {
    for (const uint32_t n : {1u, 31u, 32u, 33u, 70u}) {
      const uint32_t k = round_up(96, block_elements(type));
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

TEST(Pack, FileWeightReadsFifthBits) {
  std::vector<std::byte> q50(22, std::byte{0});
  test::put_u16(q50.data(), float_to_f16(0.5f));
  q50[2] = std::byte{0x02};      // element 1
  q50[5] = std::byte{0x80};      // element 31
  q50[6 + 1] = std::byte{0x35};  // elements 1 and 17
  EXPECT_EQ(file_weight(WeightType::kQ5_0, q50.data(), 32, 0, 1), (16 + 5 - 16) * 0.5f);
  EXPECT_EQ(file_weight(WeightType::kQ5_0, q50.data(), 32, 0, 17), (3 - 16) * 0.5f);
  EXPECT_EQ(file_weight(WeightType::kQ5_0, q50.data(), 32, 0, 31), (16 - 16) * 0.5f);
  std::vector<std::byte> q51(24, std::byte{0});
  test::put_u16(q51.data(), float_to_f16(0.25f));
  test::put_u16(q51.data() + 2, float_to_f16(-1.0f));
  q51[4 + 2] = std::byte{0x01};  // element 16
  q51[8 + 0] = std::byte{0xF1};  // elements 0 and 16
  EXPECT_EQ(file_weight(WeightType::kQ5_1, q51.data(), 32, 0, 0), 0.25f - 1.0f);
  EXPECT_EQ(file_weight(WeightType::kQ5_1, q51.data(), 32, 0, 16), 31 * 0.25f - 1.0f);
}

TEST(Pack, FileWeightReadsSuperBlocks) {
  std::vector<std::byte> q4k(144, std::byte{0});
  test::put_u16(q4k.data(), float_to_f16(0.5f));       // d
  test::put_u16(q4k.data() + 2, float_to_f16(0.25f));  // dmin
  q4k[4 + 1] = std::byte{0x80 | 7};                    // sc of group 1 = 7; high bits of sc 5 = 2
  q4k[8 + 1] = std::byte{0x40 | 9};                    // mn of group 1 = 9; high bits of mn 5 = 1
  q4k[12 + 1] = std::byte{0x63};                       // low bits of sc 5 = 3, of mn 5 = 6
  q4k[16 + 4] = std::byte{0xC0};                       // group 1, element 4: 12
  q4k[16 + 64 + 5] = std::byte{0xA0};                  // group 5, element 5: 10
  const float first = 0.5f * 7 * 12 - 0.25f * 9;
  EXPECT_EQ(file_weight(WeightType::kQ4_K, q4k.data(), 256, 0, 32 + 4), first);
  EXPECT_EQ(file_weight(WeightType::kQ4_K, q4k.data(), 256, 0, 160 + 5),
            0.5f * (32 + 3) * 10 - 0.25f * (16 + 6));
  std::vector<std::byte> q5k(176, std::byte{0});
  std::copy_n(q4k.begin(), 16, q5k.begin());
  q5k[16 + 4] = std::byte{0x02};  // fifth bit of element 4 of group 1
  q5k[48 + 4] = std::byte{0xC0};
  EXPECT_EQ(file_weight(WeightType::kQ5_K, q5k.data(), 256, 0, 32 + 4), first + 0.5f * 7 * 16);
  std::vector<std::byte> q6k(210, std::byte{0});
  test::put_u16(q6k.data() + 208, float_to_f16(0.5f));
  q6k[192 + 9] = static_cast<std::byte>(-3);  // elements 144..159
  q6k[64 + 20] = std::byte{0x05};             // second half, element 20: low four bits
  q6k[128 + 32 + 20] = std::byte{0x03};       // its high two
  EXPECT_EQ(file_weight(WeightType::kQ6_K, q6k.data(), 256, 0, 128 + 20),
            0.5f * -3 * (48 + 5 - 32));
  q6k[192 + 15] = std::byte{2};          // elements 240..255
  q6k[64 + 32 + 31] = std::byte{0x70};   // second half, element 127: high nibble of byte 63
  q6k[128 + 32 + 31] = std::byte{0x40};  // bits 6 and 7
  EXPECT_EQ(file_weight(WeightType::kQ6_K, q6k.data(), 256, 0, 255), 0.5f * 2 * (16 + 7 - 32));
}

TEST(Pack, FileWeightReadsTwoAndThreeBitSuperBlocks) {
  std::vector<std::byte> q2k(84, std::byte{0});
  test::put_u16(q2k.data() + 80, float_to_f16(0.5f));   // d
  test::put_u16(q2k.data() + 82, float_to_f16(0.25f));  // dmin
  q2k[3] = std::byte{0x97};                             // elements 48..63: sc 7, mn 9
  q2k[16 + 20] = std::byte{0x08};                       // bits 2, 3: element 32 + 20, code 2
  EXPECT_EQ(file_weight(WeightType::kQ2_K, q2k.data(), 256, 0, 32 + 20), 0.5f * 7 * 2 - 0.25f * 9);
  EXPECT_EQ(file_weight(WeightType::kQ2_K, q2k.data(), 256, 0, 32 + 21), -0.25f * 9);
  q2k[14] = std::byte{0xF2};           // elements 224..239: sc 2, mn 15
  q2k[16 + 32 + 5] = std::byte{0xC0};  // second half, bits 6, 7: element 128 + 96 + 5, code 3
  EXPECT_EQ(file_weight(WeightType::kQ2_K, q2k.data(), 256, 0, 229), 0.5f * 2 * 3 - 0.25f * 15);
  std::vector<std::byte> q3k(110, std::byte{0});
  test::put_u16(q3k.data() + 108, float_to_f16(0.5f));
  q3k[96 + 2] = std::byte{0x05};      // low bits of sc 2 = 5, of sc 10 = 0
  q3k[96 + 8 + 2] = std::byte{0x30};  // high bits of sc 2 = 0, of sc 6 = 0, of sc 10 = 3
  q3k[32 + 7] = std::byte{0x04};      // element 32 + 7: two bits 1
  EXPECT_EQ(file_weight(WeightType::kQ3_K, q3k.data(), 256, 0, 32 + 7), 0.5f * (5 - 32) * (1 - 4));
  q3k[7] = std::byte{0x02};  // bit 1: third bit of element 7 of group 1
  EXPECT_EQ(file_weight(WeightType::kQ3_K, q3k.data(), 256, 0, 32 + 7), 0.5f * (5 - 32) * (5 - 4));
  q3k[32 + 32 + 8] = std::byte{0x0C};  // second half: element 128 + 32 + 8, two bits 3
  q3k[8] = std::byte{0x20};            // its third bit
  EXPECT_EQ(file_weight(WeightType::kQ3_K, q3k.data(), 256, 0, 168), 0.5f * (48 - 32) * (7 - 4));
}

TEST(Pack, FileWeightReadsTheNonLinearTable) {
  std::vector<std::byte> block(18, std::byte{0});
  test::put_u16(block.data(), float_to_f16(0.5f));
  block[2 + 3] = std::byte{0xF8};  // element 3 = code 8, element 19 = code 15
  EXPECT_EQ(file_weight(WeightType::kIQ4_NL, block.data(), 32, 0, 3), 0.5f * 1);
  EXPECT_EQ(file_weight(WeightType::kIQ4_NL, block.data(), 32, 0, 19), 0.5f * 113);
  EXPECT_EQ(file_weight(WeightType::kIQ4_NL, block.data(), 32, 0, 0), 0.5f * -127);
}

TEST(Pack, PanelsInAnyOrderGiveTheSameBytes) {
  test::Rng rng(2);
  for (const WeightType type : test::kAllTypes) {
    const uint32_t k = round_up(64, block_elements(type));
    const test::Weights w = test::make_weights(rng, type, 100, k);
    test::Buffer<std::byte> other(w.panels.size());
    for (const uint32_t panel : {2u, 0u, 3u, 1u}) {
      ASSERT_TRUE(pack_panels(type, w.file.data(), 100, k, panel, panel + 1, other.data()));
    }
    EXPECT_EQ(std::memcmp(other.data(), w.panels.data(), other.size()), 0);
  }
}

TEST(Pack, NonFiniteScalesAndWeightsAreRefused) {
  test::Rng rng(3);
  for (const WeightType type : test::kAllTypes) {
    const uint32_t k = round_up(64, block_elements(type));
    test::Weights w = test::make_weights(rng, type, 40, k);
    const size_t row = file_row_bytes(type, k);
    // The first element, or the scale of the first block, of the last row.
    std::byte* last = w.file.data() + 39 * row + test::scale_at(type);
    if (type == WeightType::kF32) {
      const float nan = std::numeric_limits<float>::quiet_NaN();
      std::memcpy(last, &nan, 4);
    } else {
      test::put_u16(last, type == WeightType::kBF16 ? 0x7F80 : 0x7C00);
    }
    EXPECT_TRUE(pack_panels(type, w.file.data(), 40, k, 0, 1, w.panels.data()))
        << test::type_name(type);
    EXPECT_FALSE(pack_panels(type, w.file.data(), 40, k, 1, 2, w.panels.data()))
        << test::type_name(type);
  }
  for (const WeightType type : test::kAllTypes) {
    if (has_minimum(type)) {
      const uint32_t k = block_elements(type);
      test::Weights w = test::make_weights(rng, type, 32, k);
      test::put_u16(w.file.data() + test::scale_at(type) + 2,
                    0xFC00);  // the minimum counts as well
      EXPECT_FALSE(pack_panels(type, w.file.data(), 32, k, 0, 1, w.panels.data()));
    }
  }
}

}  // namespace
}  // namespace stet::kernels
