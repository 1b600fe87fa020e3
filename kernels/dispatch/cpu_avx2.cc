// The AVX2 table: lanes where time goes, elsewhere the definition once more, compiled with fma.
#include "kernels/dispatch/avx2_ops.h"
#include "kernels/dispatch/reference_table.h"
#include "kernels/dispatch/tables.h"

namespace stet::kernels {
namespace {

constexpr KernelTable make_table() {
  KernelTable t = reference::make_table("avx2");
  t.linear[static_cast<int>(WeightType::kF32)] = avx2::linear_f32;
  t.linear[static_cast<int>(WeightType::kF16)] = avx2::linear_f16;
  t.linear[static_cast<int>(WeightType::kBF16)] = avx2::linear_bf16;
  t.linear[static_cast<int>(WeightType::kQ4_0)] = avx2::linear_q4_0;
  t.linear[static_cast<int>(WeightType::kQ4_1)] = avx2::linear_q4_1;
  t.linear[static_cast<int>(WeightType::kQ8_0)] = avx2::linear_q8_0;
  t.attention = avx2::attention;
  t.attention_segment = avx2::attention_segment;
  t.attention_merge = avx2::attention_merge;
  t.attention_group = avx2::attention_group;
  t.attention_group_segment = avx2::attention_group_segment;
  return t;
}

}  // namespace

constinit const KernelTable kAvx2Table = make_table();

}  // namespace stet::kernels
