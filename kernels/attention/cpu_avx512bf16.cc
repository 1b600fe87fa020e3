// Attention with vdpbf16ps: per lane it adds the odd product first, then the even one, each fused -
// C5's order. Measured on Zen 4 and Zen 5; the self-test compares it with the fma chain on the host
// it runs on.
#include "kernels/attention/avx512_isa.h"
#include "kernels/dispatch/avx512_ops.h"

namespace stet::kernels::avx512bf16 {
namespace {

struct Dot {
  static __m512i load(const std::byte* p) { return _mm512_loadu_si512(p); }
  static __m512i load_masked(__mmask32 lanes, const std::byte* p) {
    return _mm512_maskz_loadu_epi16(lanes, p);
  }
  static __m512i broadcast(uint32_t pair) { return _mm512_set1_epi32(static_cast<int>(pair)); }
  static __m512 add(__m512 acc, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static __m256i round(__mmask16 lanes, __m512 x) {
    return reinterpret_cast<__m256i>(_mm512_maskz_cvtneps_pbh(lanes, x));
  }
};

using Isa = Avx512<Dot>;

}  // namespace

void attention(const AttentionArgs& args) {
  attention_lanes<Isa>(args);
}
void attention_segment(const AttentionArgs& args, uint32_t segment, float* states) {
  attention_segment_lanes<Isa>(args, segment, states);
}
void attention_merge(const AttentionArgs& args, const float* states, uint32_t num_segments) {
  attention_merge_lanes<Isa>(args, states, num_segments);
}
void attention_group(const GroupAttentionArgs& args) {
  attention_group_lanes<Isa>(args);
}
void attention_group_segment(const GroupAttentionArgs& args, uint32_t segment) {
  attention_group_segment_lanes<Isa>(args, segment);
}

}  // namespace stet::kernels::avx512bf16
