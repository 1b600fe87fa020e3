// The AVX2 table.
#include "kernels/dispatch/avx2_ops.h"
#include "kernels/dispatch/tables.h"

namespace stet::kernels {
namespace {

constexpr KernelTable make_table() {
  KernelTable t;
  t.name = "avx2";
  t.rms_norm = avx2::rms_norm;
  t.quantise = avx2::quantise;
  t.rms_norm_quantise = avx2::rms_norm_quantise;
  t.gate_quantise = avx2::gate_quantise;
  t.add = avx2::add;
  t.embed = avx2::embed;
  t.rope_q = avx2::rope_q;
  t.rope_store_kv = avx2::rope_store_kv;
  t.attention = avx2::attention;
  t.attention_segment = avx2::attention_segment;
  t.attention_merge = avx2::attention_merge;
  t.attention_group = avx2::attention_group;
  t.attention_group_segment = avx2::attention_group_segment;
  t.linear[static_cast<int>(WeightType::kF32)] = avx2::linear_f32;
  t.linear[static_cast<int>(WeightType::kF16)] = avx2::linear_f16;
  t.linear[static_cast<int>(WeightType::kBF16)] = avx2::linear_bf16;
  t.linear[static_cast<int>(WeightType::kQ4_0)] = avx2::linear_q4_0;
  t.linear[static_cast<int>(WeightType::kQ4_1)] = avx2::linear_q4_1;
  t.linear[static_cast<int>(WeightType::kQ8_0)] = avx2::linear_q8_0;
  t.linear[static_cast<int>(WeightType::kQ5_0)] = avx2::linear_q5_0;
  t.linear[static_cast<int>(WeightType::kQ5_1)] = avx2::linear_q5_1;
  t.linear[static_cast<int>(WeightType::kQ4_K)] = avx2::linear_q4_k;
  t.linear[static_cast<int>(WeightType::kQ5_K)] = avx2::linear_q5_k;
  t.linear[static_cast<int>(WeightType::kQ6_K)] = avx2::linear_q6_k;
  t.linear[static_cast<int>(WeightType::kQ2_K)] = avx2::linear_q2_k;
  t.linear[static_cast<int>(WeightType::kQ3_K)] = avx2::linear_q3_k;
  t.linear[static_cast<int>(WeightType::kIQ4_NL)] = avx2::linear_iq4_nl;
  t.log_sum_exp = avx2::log_sum_exp;
  t.sample = avx2::sample;
  return t;
}

}  // namespace

constinit const KernelTable kAvx2Table = make_table();

}  // namespace stet::kernels
