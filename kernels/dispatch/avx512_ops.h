// Operations built for AVX-512 (F, BW, VL, DQ, VNNI), each defined in its folder's cpu_avx512*.cc
// and put together by dispatch/cpu_avx512*.cc. All symbols are strong functions of this namespace:
// nothing inline crosses a file.
#pragma once

#include "stet/kernels/kernel_table.h"

namespace stet::kernels::avx512 {

// gemm
void linear_f32(const LinearArgs& args);
void linear_f16(const LinearArgs& args);
void linear_bf16(const LinearArgs& args);
void linear_q4_0(const LinearArgs& args);
void linear_q4_1(const LinearArgs& args);
void linear_q8_0(const LinearArgs& args);
void linear_q5_0(const LinearArgs& args);
void linear_q5_1(const LinearArgs& args);
void linear_q4_k(const LinearArgs& args);
void linear_q5_k(const LinearArgs& args);
void linear_q6_k(const LinearArgs& args);
void linear_q2_k(const LinearArgs& args);
void linear_q3_k(const LinearArgs& args);
void linear_iq4_nl(const LinearArgs& args);
void embed(const PackedMatrix& w, uint32_t token_id, float scale, float* out);

// norm_rope, quantise, activation
bool rms_norm(const float* x, const float* w, uint32_t n, float eps, float* y);
bool quantise(const float* x, const Outliers& outliers, const LinearInput& out, uint32_t row);
bool rms_norm_quantise(const float* x, const float* w, float eps, const Outliers& outliers,
                       const LinearInput& out, uint32_t row);
bool gate_quantise(GateKind kind, const float* gate, const float* up, const Outliers& outliers,
                   const LinearInput& out, uint32_t row);
void add(const float* x, uint32_t n, float* y);
bool rope_q(RopeStyle style, const float* x, const float* cos, const float* sin, uint32_t head_dim,
            uint32_t rope_dim, float scale, uint16_t* out);
bool rope_store_kv(RopeStyle style, const float* k, const float* v, const float* cos,
                   const float* sin, uint32_t head_dim, uint32_t rope_dim, std::byte* tile,
                   uint32_t pos);

// sample
LogSumExp log_sum_exp(const float* logits, uint32_t n);
uint32_t sample(const SampleArgs& args);

}  // namespace stet::kernels::avx512

// Linears whose integer sums AMX makes.
namespace stet::kernels::avx512amx {
void linear_q4_0(const LinearArgs& args);
void linear_q4_1(const LinearArgs& args);
void linear_q8_0(const LinearArgs& args);
void linear_q5_0(const LinearArgs& args);
void linear_q5_1(const LinearArgs& args);
void linear_q4_k(const LinearArgs& args);
void linear_q5_k(const LinearArgs& args);
}  // namespace stet::kernels::avx512amx

// Attention twice: with vdpbf16ps, and with fma for processors without it (or with another order
// inside it).
namespace stet::kernels::avx512bf16 {
void attention(const AttentionArgs& args);
void attention_segment(const AttentionArgs& args, uint32_t segment, float* states);
void attention_merge(const AttentionArgs& args, const float* states, uint32_t num_segments);
void attention_group(const GroupAttentionArgs& args);
void attention_group_segment(const GroupAttentionArgs& args, uint32_t segment);
}  // namespace stet::kernels::avx512bf16

namespace stet::kernels::avx512fma {
void attention(const AttentionArgs& args);
void attention_segment(const AttentionArgs& args, uint32_t segment, float* states);
void attention_merge(const AttentionArgs& args, const float* states, uint32_t num_segments);
void attention_group(const GroupAttentionArgs& args);
void attention_group_segment(const GroupAttentionArgs& args, uint32_t segment);
}  // namespace stet::kernels::avx512fma
