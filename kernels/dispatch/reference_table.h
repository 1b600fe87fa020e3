// A whole KernelTable from the reference code, compiled with the flags of the file that includes
// this: the baseline gives "scalar", -mavx2 -mfma -mf16c gives "avx2" - the same operations, so the
// same bits, with fma as one instruction.
#pragma once

#include "kernels/activation/reference.h"
#include "kernels/attention/reference.h"
#include "kernels/attention/reference_group.h"
#include "kernels/gemm/reference.h"
#include "kernels/norm_rope/reference.h"
#include "kernels/quantise/reference.h"
#include "kernels/sample/sampler.h"
#include "stet/kernels/kernel_table.h"

namespace stet::kernels::reference {

static constexpr KernelTable make_table(const char* name) {
  KernelTable t;
  t.name = name;
  t.rms_norm = rms_norm;
  t.quantise = quantise;
  t.rms_norm_quantise = rms_norm_quantise;
  t.gate_quantise = gate_quantise;
  t.add = add;
  t.embed = embed;
  t.rope_q = rope_q;
  t.rope_store_kv = rope_store_kv;
  t.attention = attention;
  t.attention_segment = attention_segment;
  t.attention_merge = attention_merge;
  t.attention_group = attention_group;
  t.attention_group_segment = attention_group_segment;
  t.linear[static_cast<int>(WeightType::kF32)] = linear<WeightType::kF32>;
  t.linear[static_cast<int>(WeightType::kF16)] = linear<WeightType::kF16>;
  t.linear[static_cast<int>(WeightType::kBF16)] = linear<WeightType::kBF16>;
  t.linear[static_cast<int>(WeightType::kQ4_0)] = linear<WeightType::kQ4_0>;
  t.linear[static_cast<int>(WeightType::kQ4_1)] = linear<WeightType::kQ4_1>;
  t.linear[static_cast<int>(WeightType::kQ8_0)] = linear<WeightType::kQ8_0>;
  t.linear[static_cast<int>(WeightType::kQ5_0)] = linear<WeightType::kQ5_0>;
  t.linear[static_cast<int>(WeightType::kQ5_1)] = linear<WeightType::kQ5_1>;
  t.linear[static_cast<int>(WeightType::kQ4_K)] = linear<WeightType::kQ4_K>;
  t.linear[static_cast<int>(WeightType::kQ5_K)] = linear<WeightType::kQ5_K>;
  t.linear[static_cast<int>(WeightType::kQ6_K)] = linear<WeightType::kQ6_K>;
  t.linear[static_cast<int>(WeightType::kQ2_K)] = linear<WeightType::kQ2_K>;
  t.linear[static_cast<int>(WeightType::kQ3_K)] = linear<WeightType::kQ3_K>;
  t.linear[static_cast<int>(WeightType::kIQ4_NL)] = linear<WeightType::kIQ4_NL>;
  t.log_sum_exp = log_sum_exp_with<Passes>;
  t.sample = sample_with<Passes>;
  return t;
}

}  // namespace stet::kernels::reference
