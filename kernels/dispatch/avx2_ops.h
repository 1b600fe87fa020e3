// Operations built for AVX2 (with FMA and F16C), each defined in its folder's cpu_avx2.cc and put
// together by dispatch/cpu_avx2.cc. All symbols are strong functions of this namespace: nothing
// inline crosses a file.
#pragma once

#include "stet/kernels/kernel_table.h"

namespace stet::kernels::avx2 {

// gemm
void linear_f32(const LinearArgs& args);
void linear_f16(const LinearArgs& args);
void linear_bf16(const LinearArgs& args);
void linear_q4_0(const LinearArgs& args);
void linear_q4_1(const LinearArgs& args);
void linear_q8_0(const LinearArgs& args);

// attention
void attention(const AttentionArgs& args);
void attention_segment(const AttentionArgs& args, uint32_t segment, float* states);
void attention_merge(const AttentionArgs& args, const float* states, uint32_t num_segments);
void attention_group(const GroupAttentionArgs& args);
void attention_group_segment(const GroupAttentionArgs& args, uint32_t segment);

}  // namespace stet::kernels::avx2
