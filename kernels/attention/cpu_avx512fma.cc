// Attention with two fma per bf16 pair, odd element first: for processors with VNNI but without
// vdpbf16ps.
#include "kernels/attention/avx512_isa.h"
#include "kernels/dispatch/avx512_ops.h"

namespace stet::kernels::avx512fma {
namespace {

struct Wide {
  __m512 odd;
  __m512 even;
};

struct Dot {
  static Wide split(__m512i v) {
    return {
        _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u)))),
        _mm512_castsi512_ps(_mm512_slli_epi32(v, 16))};
  }
  static Wide load(const std::byte* p) { return split(_mm512_loadu_si512(p)); }
  static Wide load_masked(__mmask32 lanes, const std::byte* p) {
    return split(_mm512_maskz_loadu_epi16(lanes, p));
  }
  static Wide broadcast(uint32_t pair) { return split(_mm512_set1_epi32(static_cast<int>(pair))); }
  static __m512 add(__m512 acc, const Wide& a, const Wide& b) {
    return _mm512_fmadd_ps(b.even, a.even, _mm512_fmadd_ps(b.odd, a.odd, acc));
  }
  // exp2 is positive and normal: nearest even in integers.
  static __m256i round(__mmask16 lanes, __m512 x) {
    const __m512i u = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7FFF)), odd);
    return _mm512_cvtepi32_epi16(_mm512_maskz_srli_epi32(lanes, rounded, 16));
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

}  // namespace stet::kernels::avx512fma
