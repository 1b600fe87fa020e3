#include <gtest/gtest.h>

#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

using test::Buffer;
using test::Rng;

class Linear : public ::testing::TestWithParam<WeightType> {
 protected:
  void SetUp() override { set_float_environment(); }
  // The next length of rows that this type has.
  static uint32_t fit(uint32_t k) { return round_up(k, block_elements(GetParam())); }
};

struct Case {
  uint32_t n, k, outliers;
  bool bias, add;
};

// Quantises `rows` rows of the given shape with the scalar table.
void fill_rows(Rng& rng, test::Rows* in, uint32_t rows, test::Shape shape,
               const Outliers& outliers) {
  for (uint32_t r = 0; r < rows; ++r) {
    const Buffer<float> x = test::floats(rng, in->k, shape);
    test::scalar_table().quantise(x.data(), outliers,
                                  in->k % kGroup == 0 ? in->view() : in->float_view(), r);
  }
}

Buffer<float> run(const KernelTable& table, const PackedMatrix& w, const LinearInput& in,
                  uint32_t rows, bool add, uint32_t panel_step, const Buffer<float>& before) {
  Buffer<float> out = before;
  for (uint32_t p = 0; p < w.num_panels(); p += panel_step) {
    LinearArgs args{&w,
                    in,
                    rows,
                    p,
                    std::min(p + panel_step, w.num_panels()),
                    out.data(),
                    round_up(w.n, kPanel),
                    add};
    table.linear[static_cast<int>(w.type)](args);
  }
  return out;
}

TEST_P(Linear, EveryTableGivesTheBitsOfTheDefinition) {
  const Case cases[] = {{32, 32, 0, false, false},
                        {33, 96, 1, true, false},
                        {70, 256, 4, false, true},
                        {1, 64, 0, true, true},
                        {97, 544, 8, true, true}};
  Rng rng(static_cast<uint64_t>(GetParam()));
  for (Case c : cases) {
    c.k = fit(c.k);
    const test::Weights w = test::make_weights(rng, GetParam(), c.n, c.k, c.outliers, c.bias);
    const test::OutlierList outliers(rng, c.k, c.outliers);
    for (const uint32_t rows : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 15u, 16u, 17u, 33u, 64u, 149u}) {
      test::Rows in(rows, c.k);
      const test::Shape shape = test::kShapes[rng.below(std::size(test::kShapes))];
      fill_rows(rng, &in, rows, shape, outliers.view());
      const Buffer<float> before = test::floats(rng, size_t{rows} * round_up(c.n, kPanel));
      const Buffer<float> expected =
          run(test::scalar_table(), w.matrix, in.view(), rows, c.add, 99, before);
      for (const KernelTable* table : test::runnable_tables()) {
        for (const uint32_t step : {1u, 2u, 99u}) {
          ASSERT_TRUE(test::same_bits(run(*table, w.matrix, in.view(), rows, c.add, step, before),
                                      expected))
              << table->name << " n " << c.n << " k " << c.k << " rows " << rows << " panels "
              << step;
        }
      }
    }
  }
}

// Where sums are narrower than 32 bits they must hold the largest codes times the largest
// activations.
TEST_P(Linear, TheLargestCodesAndActivationsAreExact) {
  if (!is_quantised(GetParam())) {
    return;
  }
  Rng rng(11);
  const uint32_t k = fit(64);
  for (const int fill : {0x00, 0xFF, 0x80, 0x7F, 0x1F, 0xE0}) {
    test::Weights w = test::make_weights(rng, GetParam(), 32, k);
    const size_t block = file_row_bytes(GetParam(), block_elements(GetParam()));
    const size_t scales = test::scale_at(GetParam());
    for (size_t i = 0; i < w.file.size(); ++i) {
      if (i % block < scales || i % block >= scales + (has_minimum(GetParam()) ? 4 : 2)) {
        w.file[i] = static_cast<std::byte>(fill);
      }
    }
    ASSERT_TRUE(pack_panels(GetParam(), w.file.data(), 32, k, 0, 1, w.panels.data()));
    test::Rows in(8, k);
    for (uint32_t r = 0; r < 8; ++r) {
      Buffer<float> x(k);
      for (uint32_t i = 0; i < k; ++i) {
        x[i] = r == 0 ? 1.0f : r == 1 ? -1.0f : rng.below(r) == 0 ? -1.0f : 1.0f;
      }
      test::scalar_table().quantise(x.data(), {}, in.view(), r);
      ASSERT_EQ(std::abs(in.q[size_t{r} * in.ldk]), 127);
    }
    const Buffer<float> before(8 * 32);
    const Buffer<float> expected =
        run(test::scalar_table(), w.matrix, in.view(), 8, false, 99, before);
    for (const KernelTable* table : test::runnable_tables()) {
      ASSERT_TRUE(test::same_bits(run(*table, w.matrix, in.view(), 8, false, 99, before), expected))
          << table->name << " bytes of " << fill;
    }
  }
}

TEST(LinearFloat, AnyKWorks) {
  set_float_environment();
  Rng rng(7);
  for (const WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kBF16}) {
    for (const uint32_t k : {1u, 7u, 31u, 33u, 100u}) {
      const test::Weights w = test::make_weights(rng, type, 40, k);
      test::Rows in(9, k);
      fill_rows(rng, &in, 9, test::Shape::kNormal, {});
      const Buffer<float> before(9 * 64);
      const Buffer<float> expected =
          run(test::scalar_table(), w.matrix, in.float_view(), 9, false, 99, before);
      for (const KernelTable* table : test::runnable_tables()) {
        ASSERT_TRUE(
            test::same_bits(run(*table, w.matrix, in.float_view(), 9, false, 99, before), expected))
            << table->name << " k " << k;
      }
    }
  }
}

TEST_P(Linear, ARowDoesNotDependOnItsCompany) {
  Rng rng(8);
  const uint32_t k = fit(320);
  const test::Weights w = test::make_weights(rng, GetParam(), 64, k);
  test::Rows in(13, k);
  fill_rows(rng, &in, 13, test::Shape::kHeavy, {});
  for (const KernelTable* table : test::runnable_tables()) {
    const Buffer<float> all =
        run(*table, w.matrix, in.view(), 13, false, 99, Buffer<float>(13 * 64));
    for (uint32_t r = 0; r < 13; ++r) {
      LinearInput one = in.view();
      one.q += size_t{r} * one.ldk;
      one.x += size_t{r} * one.ldk;
      one.s += size_t{r} * one.ldg;
      one.t += size_t{r} * one.ldg;
      one.a += size_t{r} * one.ldg;
      const Buffer<float> alone = run(*table, w.matrix, one, 1, false, 99, Buffer<float>(64));
      ASSERT_EQ(std::memcmp(alone.data(), all.data() + r * 64, 64 * sizeof(float)), 0)
          << table->name << " row " << r;
    }
  }
}

TEST_P(Linear, PrefetchOfForeignBytesChangesNothing) {
  Rng rng(9);
  const uint32_t k = fit(128);
  const test::Weights w = test::make_weights(rng, GetParam(), 64, k);
  test::Rows in(14, k);
  fill_rows(rng, &in, 14, test::Shape::kNormal, {});
  constexpr uint32_t kLines = 17;
  std::vector<std::byte> foreign(3 * kLines * 64);
  const std::byte* runs[] = {foreign.data(), foreign.data() + kLines * 64,
                             foreign.data() + 2 * kLines * 64};
  for (const KernelTable* table : test::runnable_tables()) {
    const Buffer<float> plain =
        run(*table, w.matrix, in.view(), 14, false, 99, Buffer<float>(14 * 64));
    Buffer<float> out(14 * 64);
    Prefetch list{.runs = runs, .num_runs = 3, .run_lines = kLines};
    LinearArgs args{&w.matrix, in.view(), 14, 0, 2, out.data(), 64, false, &list};
    table->linear[static_cast<int>(GetParam())](args);
    ASSERT_TRUE(test::same_bits(out, plain)) << table->name;
    // The scalar definition has nothing to prefetch.
    EXPECT_LE(list.run, 3u);
    EXPECT_LT(list.done_lines, kLines);
    if (std::string_view(table->name) == "scalar") {
      EXPECT_EQ(list.run + list.done_lines, 0u);
    } else {
      EXPECT_GT(list.run + list.done_lines, 0u) << table->name;
    }
    // Calls go on with the list until it is empty, and then leave it.
    for (int i = 0; i < 20 && std::string_view(table->name) != "scalar"; ++i) {
      table->linear[static_cast<int>(GetParam())](args);
    }
    EXPECT_EQ(list.run, std::string_view(table->name) == "scalar" ? 0u : 3u) << table->name;
    ASSERT_TRUE(test::same_bits(out, plain)) << table->name;
  }
}

// Independent of layout and kernels: fp64 over weights read from file bytes and activations
// dequantised here.
//   |error| <= terms * 2^-24 * sum |x*w| * (1 + small): each of `terms` fma rounds an accumulator
//   that is bounded by sum|x*w| * (1 + terms * 2^-24); d*s, t and the weight itself are rounded
//   once more each, hence terms + 4.
TEST_P(Linear, OracleInFp64OverFileBytesAgreesWithinTheBound) {
  Rng rng(10);
  const uint32_t n = 45;
  const uint32_t k = fit(576);
  const uint32_t num_outliers = is_quantised(GetParam()) ? 3 : 0;
  test::Weights w = test::make_weights(rng, GetParam(), n, k, num_outliers, true);
  const test::OutlierList outliers(rng, k, num_outliers);
  for (uint32_t o = 0; o < num_outliers; ++o) {
    for (uint32_t col = 0; col < n; ++col) {
      w.outlier_w[o * 64 + col] =
          file_weight(GetParam(), w.file.data(), k, col, outliers.channels[o]);
    }
  }
  test::Rows in(5, k);
  fill_rows(rng, &in, 5, test::Shape::kNormal, outliers.view());
  for (const KernelTable* table : test::runnable_tables()) {
    const Buffer<float> out = run(*table, w.matrix, in.view(), 5, false, 99, Buffer<float>(5 * 64));
    for (uint32_t r = 0; r < 5; ++r) {
      for (uint32_t col = 0; col < n; ++col) {
        double sum = w.bias[col];
        double magnitude = std::fabs(sum);
        for (uint32_t i = 0; i < k; ++i) {
          double x = in.x[size_t{r} * in.ldk + i];
          const auto outlier = std::find(outliers.channels.begin(), outliers.channels.end(), i);
          if (is_quantised(GetParam()) && outlier == outliers.channels.end()) {
            x = double{in.s[size_t{r} * in.ldg + i / kGroup]} * in.q[size_t{r} * in.ldk + i];
          }
          const double term = x * file_weight(GetParam(), w.file.data(), k, col, i);
          sum += term;
          magnitude += std::fabs(term);
          if (has_minimum(GetParam())) {  // two terms round apart and may exceed their sum
            const size_t block_bytes = file_row_bytes(GetParam(), block_elements(GetParam()));
            const std::byte* block = w.file.data() + col * file_row_bytes(GetParam(), k) +
                                     i / block_elements(GetParam()) * block_bytes;
            const double factor = block_elements(GetParam()) == kSuperBlock ? 63 : 1;
            magnitude +=
                2 * std::fabs(x * factor *
                              f16_to_float(load_u16(block + test::scale_at(GetParam()) + 2)));
          }
        }
        const double terms = is_quantised(GetParam()) ? 2.0 * k / kGroup + num_outliers : k;
        const double bound = (terms + 5) * 0x1p-24 * magnitude * 1.001;
        ASSERT_NEAR(out[r * 64 + col], sum, bound) << table->name << " row " << r << " col " << col;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Linear, ::testing::ValuesIn(test::kAllTypes),
                         [](const auto& param) { return test::type_name(param.param); });

}  // namespace
}  // namespace stet::kernels
