// The AVX-512 tables. They share everything but attention and, with AMX, the commonest linears.
#include "kernels/dispatch/avx512_ops.h"
#include "kernels/dispatch/tables.h"

namespace stet::kernels {
namespace {

constexpr KernelTable make_table(const char* name) {
  KernelTable t;
  t.name = name;
  t.rms_norm = avx512::rms_norm;
  t.quantise = avx512::quantise;
  t.rms_norm_quantise = avx512::rms_norm_quantise;
  t.gate_quantise = avx512::gate_quantise;
  t.add = avx512::add;
  t.embed = avx512::embed;
  t.rope_q = avx512::rope_q;
  t.rope_store_kv = avx512::rope_store_kv;
  t.linear[static_cast<int>(WeightType::kF32)] = avx512::linear_f32;
  t.linear[static_cast<int>(WeightType::kF16)] = avx512::linear_f16;
  t.linear[static_cast<int>(WeightType::kBF16)] = avx512::linear_bf16;
  t.linear[static_cast<int>(WeightType::kQ4_0)] = avx512::linear_q4_0;
  t.linear[static_cast<int>(WeightType::kQ4_1)] = avx512::linear_q4_1;
  t.linear[static_cast<int>(WeightType::kQ8_0)] = avx512::linear_q8_0;
  t.linear[static_cast<int>(WeightType::kQ5_0)] = avx512::linear_q5_0;
  t.linear[static_cast<int>(WeightType::kQ5_1)] = avx512::linear_q5_1;
  t.linear[static_cast<int>(WeightType::kQ4_K)] = avx512::linear_q4_k;
  t.linear[static_cast<int>(WeightType::kQ5_K)] = avx512::linear_q5_k;
  t.linear[static_cast<int>(WeightType::kIQ4_NL)] = avx512::linear_iq4_nl;
  t.linear[static_cast<int>(WeightType::kQ6_K)] = avx512::linear_q6_k;
  t.linear[static_cast<int>(WeightType::kQ2_K)] = avx512::linear_q2_k;
  t.linear[static_cast<int>(WeightType::kQ3_K)] = avx512::linear_q3_k;
  t.log_sum_exp = avx512::log_sum_exp;
  t.sample = avx512::sample;
  return t;
}

constexpr KernelTable make_bf16_table() {
  KernelTable t = make_table("avx512vnni");
  t.attention = avx512bf16::attention;
  t.attention_segment = avx512bf16::attention_segment;
  t.attention_merge = avx512bf16::attention_merge;
  t.attention_group = avx512bf16::attention_group;
  t.attention_group_segment = avx512bf16::attention_group_segment;
  return t;
}

constexpr KernelTable make_fma_table(const char* name) {
  KernelTable t = make_table(name);
  t.attention = avx512fma::attention;
  t.attention_segment = avx512fma::attention_segment;
  t.attention_merge = avx512fma::attention_merge;
  t.attention_group = avx512fma::attention_group;
  t.attention_group_segment = avx512fma::attention_group_segment;
  return t;
}

// Attention in fma: processors with AMX so far have a slow vdpbf16ps (faster_attention.cc).
constexpr KernelTable make_amx_table() {
  KernelTable t = make_fma_table("avx512amx");
  t.linear[static_cast<int>(WeightType::kQ4_0)] = avx512amx::linear_q4_0;
  t.linear[static_cast<int>(WeightType::kQ4_1)] = avx512amx::linear_q4_1;
  t.linear[static_cast<int>(WeightType::kQ8_0)] = avx512amx::linear_q8_0;
  t.linear[static_cast<int>(WeightType::kQ5_0)] = avx512amx::linear_q5_0;
  t.linear[static_cast<int>(WeightType::kQ5_1)] = avx512amx::linear_q5_1;
  t.linear[static_cast<int>(WeightType::kQ4_K)] = avx512amx::linear_q4_k;
  t.linear[static_cast<int>(WeightType::kQ5_K)] = avx512amx::linear_q5_k;
  return t;
}

}  // namespace

constinit const KernelTable kAvx512AmxTable = make_amx_table();
constinit const KernelTable kAvx512Bf16Table = make_bf16_table();
constinit const KernelTable kAvx512FmaTable = make_fma_table("avx512vnni_fma");

}  // namespace stet::kernels
