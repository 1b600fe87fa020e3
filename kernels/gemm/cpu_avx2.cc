// Linears on AVX2: vpmaddubsw adds two products in 16 bits and saturates, so it is exact only where
// they fit. 4-bit codes: a pair is at most 2 * 15 * 127 = 3,810 and the 8 steps of a group 30,480,
// so a whole group is summed in 16 bits and widened once. Bytes: |w| * sign(q, w), a pair at most
// 2 * 128 * 127 = 32,512 because C3 gives q >= -127; widened at every step.
//
// Bound: issue. Per row, 8 columns and group of 4-bit codes: 8 products, 8 additions, 1 widening,
// 1 conversion, 1 product of scales, 2 fma: 21 operations for 256 products.
#include "kernels/dispatch/avx2_ops.h"
#include "kernels/gemm/avx2.h"

namespace stet::kernels::avx2 {
namespace {

struct Dot {
  static constexpr bool kSignedBytes = true;  // add_bytes takes the 128 off the stored codes
  static __m256i add_nibbles(__m256i sum, __m256i w, __m256i x) {
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
    // Opaque, or g++ makes a tree of the sum and spills its leaves.
    __asm__("" : "+x"(sum));
    return sum;
  }
  static __m256i sum_nibbles(__m256i sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
  static __m256i add_bytes(__m256i sum, __m256i stored, __m256i x) {
    const __m256i w = _mm256_xor_si256(stored, _mm256_set1_epi8(-128));
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    __asm__("" : "+x"(sum));
    return sum;
  }
};

}  // namespace

void linear_f32(const LinearArgs& args) {
  linear_lanes<Dot, WeightType::kF32>(args);
}
void linear_f16(const LinearArgs& args) {
  linear_lanes<Dot, WeightType::kF16>(args);
}
void linear_bf16(const LinearArgs& args) {
  linear_lanes<Dot, WeightType::kBF16>(args);
}
void linear_q4_0(const LinearArgs& args) {
  linear_lanes<Dot, WeightType::kQ4_0>(args);
}
void linear_q4_1(const LinearArgs& args) {
  linear_lanes<Dot, WeightType::kQ4_1>(args);
}
void linear_q8_0(const LinearArgs& args) {
  linear_lanes<Dot, WeightType::kQ8_0>(args);
}
void embed(const PackedMatrix& w, uint32_t token_id, float scale, float* out) {
  reference::embed(w, token_id, scale, out);
}

}  // namespace stet::kernels::avx2
