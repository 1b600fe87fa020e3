// Linears (C1) on AVX-512 VNNI: 1-6 rows x 32 columns, 12 int32 and 12 float accumulators, weights
// as the unsigned operand of vpdpbusd, activations broadcast from row-major int8. Nibbles are
// unpacked in registers: three logic operations per two operands on pipes that vpdpbusd does not
// use. The walk over panels and the prefetch: blocks.h.
//
// Bound: 8 vpdpbusd and n multiply-type operations per group share the same pipes: 8 / (8 + n) of
// the vpdpbusd peak; n = 3 (Q4_1) 72.7 %, n = 2 (Q4_0, Q8_0) 80 %. Measured on Zen 4, one core:
// Q4_1 68-70 % from 6 rows on; one row: 96 % of the rate at which the bytes can merely be read.
// Dropped: splitting K (C1 forbids it), unpacked panels (same speed, twice the bytes), embedded
// broadcasts (92 %).
#include <immintrin.h>

#include "kernels/dispatch/avx512_ops.h"
#include "kernels/gemm/avx512.h"
#include "kernels/gemm/blocks.h"
#include "kernels/gemm/reference.h"
#include "kernels/numerics/avx512.h"

namespace stet::kernels::avx512 {
namespace {

constexpr uint32_t kMaxRows = 6;

STET_INLINE __m512i broadcast4(const int8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm512_set1_epi32(v);
}

// One step of vpdpbusd over all rows: operand pair w0, w1 against 4 k at q.
template <int kRows>
STET_INLINE void dot_step(__m512i (&c)[kRows][2], __m512i w0, __m512i w1, const int8_t* q,
                          size_t ldk) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const __m512i x = broadcast4(q + r * ldk);
    c[r][0] = _mm512_dpbusd_epi32(c[r][0], w0, x);
    c[r][1] = _mm512_dpbusd_epi32(c[r][1], w1, x);
  }
}

// -offset * A: the symmetric types' start value.
template <WeightType kType>
STET_INLINE __m512i start_value(const int32_t* a) {
  if constexpr (kType == WeightType::kQ4_1) {
    return _mm512_setzero_si512();
  }
  return _mm512_madd_epi16(_mm512_set1_epi32(*a),
                           _mm512_set1_epi16(static_cast<int16_t>(-code_offset(kType))));
}

template <WeightType kType, int kRows>
STET_INLINE void integer_sums(const std::byte* w, const int8_t* q, size_t ldk,
                              __m512i (&c)[kRows][2]) {
  if constexpr (kType == WeightType::kQ8_0) {
#pragma GCC unroll 8
    for (int z = 0; z < 8; ++z) {
      dot_step<kRows>(c, load512(w + z * 128), load512(w + z * 128 + 64), q + z * 4, ldk);
    }
  } else {
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int z = 0; z < 4; ++z) {
      const __m512i w0 = load512(w + z * 128);
      const __m512i w1 = load512(w + z * 128 + 64);
      dot_step<kRows>(c, _mm512_and_si512(w0, low), _mm512_and_si512(w1, low), q + z * 8, ldk);
      dot_step<kRows>(c, _mm512_and_si512(_mm512_srli_epi16(w0, 4), low),
                      _mm512_and_si512(_mm512_srli_epi16(w1, 4), low), q + z * 8 + 4, ldk);
    }
  }
}

template <WeightType kType, int kRows>
STET_INLINE void quantised_sums(const Block& b, Pair (&f)[kRows]) {
  constexpr uint32_t kUnit = panel_unit_bytes(kType);
  constexpr uint32_t kScales = kUnit - (kType == WeightType::kQ4_1 ? 2 : 1) * kScalesBytes;
  const std::byte* w = b.w;
  for (uint32_t g = 0; g < b.units; ++g, w += kUnit) {
    prefetch_unit(b, g);
    __m512i c[kRows][2];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      c[r][0] = c[r][1] = start_value<kType>(b.a + r * b.ldg + g);
    }
    integer_sums<kType, kRows>(w, b.q + size_t{g} * kGroup, b.ldk, c);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m512 d = half_scales(w + kScales + 32 * h);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m512 ds = _mm512_mul_ps(d, _mm512_set1_ps(b.s[r * b.ldg + g]));
        f[r].v[h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(c[r][h]), ds, f[r].v[h]);
      }
      if constexpr (kType == WeightType::kQ4_1) {
        const __m512 m = half_scales(w + kScales + kScalesBytes + 32 * h);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          f[r].v[h] = _mm512_fmadd_ps(_mm512_set1_ps(b.t[r * b.ldg + g]), m, f[r].v[h]);
        }
      }
    }
  }
}

// 16 weights of a float type as f32.
template <WeightType kType>
STET_INLINE __m512 load_weights(const std::byte* p) {
  if constexpr (kType == WeightType::kF32) {
    return _mm512_loadu_ps(p);
  } else if constexpr (kType == WeightType::kF16) {
    return half_scales(p);
  } else {
    const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
  }
}

template <WeightType kType, int kRows>
STET_INLINE void float_sums(const Block& b, Pair (&f)[kRows]) {
  constexpr uint32_t kUnit = panel_unit_bytes(kType);
  const std::byte* w = b.w;
  for (uint32_t k = 0; k < b.units; ++k, w += kUnit) {
    prefetch_unit(b, k);
    const __m512 w0 = load_weights<kType>(w);
    const __m512 w1 = load_weights<kType>(w + kUnit / 2);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 x = _mm512_set1_ps(b.x[r * b.ldk + k]);
      f[r].v[0] = _mm512_fmadd_ps(x, w0, f[r].v[0]);
      f[r].v[1] = _mm512_fmadd_ps(x, w1, f[r].v[1]);
    }
  }
}

template <WeightType kType, int kRows>
void compute_block(const LinearArgs& args, const Block& b, uint32_t row, uint32_t panel) {
  Pair f[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    f[r].v[0] = f[r].v[1] = _mm512_setzero_ps();
  }
  if constexpr (is_quantised(kType)) {
    quantised_sums<kType, kRows>(b, f);
    finish<kRows>(args, row, panel, args.w->num_outliers, f);
  } else {
    float_sums<kType, kRows>(b, f);
    finish<kRows>(args, row, panel, 0, f);
  }
}

template <WeightType kType>
constexpr BlockFn kBlockFns[kMaxRows] = {compute_block<kType, 1>, compute_block<kType, 2>,
                                         compute_block<kType, 3>, compute_block<kType, 4>,
                                         compute_block<kType, 5>, compute_block<kType, 6>};

template <WeightType kType>
void linear(const LinearArgs& args) {
  linear_blocks<kType>(args, kBlockFns<kType>);
}

}  // namespace

void linear_f32(const LinearArgs& args) {
  linear<WeightType::kF32>(args);
}
void linear_f16(const LinearArgs& args) {
  linear<WeightType::kF16>(args);
}
void linear_bf16(const LinearArgs& args) {
  linear<WeightType::kBF16>(args);
}
void linear_q4_0(const LinearArgs& args) {
  linear<WeightType::kQ4_0>(args);
}
void linear_q4_1(const LinearArgs& args) {
  linear<WeightType::kQ4_1>(args);
}
void linear_q8_0(const LinearArgs& args) {
  linear<WeightType::kQ8_0>(args);
}
void embed(const PackedMatrix& w, uint32_t token_id, float scale, float* out) {
  reference::embed(w, token_id, scale, out);
}

}  // namespace stet::kernels::avx512
