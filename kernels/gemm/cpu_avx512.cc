// Linears (C1) on AVX-512 VNNI: 1-6 rows x 32 columns, 12 int32 and 12 float accumulators, weights
// as the unsigned operand of vpdpbusd, activations broadcast from row-major int8. Codes are put
// together in registers (avx512_codes.h): three operations per two operands of nibbles, seven with
// a plane of high bits. The walk over panels and the prefetch: blocks.h.
//
// Bound: 8 vpdpbusd and n multiply-type operations per group share the same pipes: 8 / (8 + n) of
// the vpdpbusd peak; n = 3 (Q4_1) 72.7 %, n = 2 (Q4_0, Q8_0) 80 %. Measured on Zen 4, one core:
// Q4_1 68-70 % from 6 rows on; one row: 96 % of the rate at which the bytes can merely be read.
// The K types and their like: benchmarks/results/kernels/types.txt.
// Dropped: splitting K (C1 forbids it), unpacked panels (same speed, twice the bytes), embedded
// broadcasts (92 %).
#include <immintrin.h>

#include "kernels/dispatch/avx512_ops.h"
#include "kernels/gemm/avx512.h"
#include "kernels/gemm/avx512_codes.h"
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

// Steps [kStep, kEnd) of a group.
template <WeightType kType, int kStep, int kEnd, int kRows>
STET_INLINE void dot_steps(const std::byte* group, const int8_t* q, size_t ldk,
                           __m512i (&c)[kRows][2]) {
  if constexpr (kStep < kEnd) {
    dot_step<kRows>(c, codes_of<kType, kStep>(group), codes_of<kType, kStep>(group + 64),
                    q + kStep * 4, ldk);
    dot_steps<kType, kStep + 1, kEnd, kRows>(group, q, ldk, c);
  }
}

// -offset * A: the symmetric types' start value.
template <WeightType kType>
STET_INLINE __m512i start_value(const int32_t* a) {
  constexpr int32_t kOffset = stored_offset(kType);
  if constexpr (kOffset == 0) {
    return _mm512_setzero_si512();
  }
  return _mm512_madd_epi16(_mm512_set1_epi32(*a),
                           _mm512_set1_epi16(static_cast<int16_t>(-kOffset)));
}

// One group: acc = fma(float(S), d*s, acc), then with a minimum fma(t, m, acc).
template <WeightType kType, int kRows>
STET_INLINE void add_group(const Block& b, const std::byte* unit, const std::byte* group,
                           size_t step, Pair (&f)[kRows]) {
  const std::byte* scales = unit + unit_scales_at(kType);
  const std::byte* factors = group + group_scales_at(kType);
  __m512i c[kRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    c[r][0] = c[r][1] = start_value<kType>(b.a + r * b.ldg + step);
  }
  dot_steps<kType, 0, 8, kRows>(group, b.q + step * kGroup, b.ldk, c);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512 d = scales_of<kType>(scales + 32 * h, factors + 16 * h);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 ds = _mm512_mul_ps(d, _mm512_set1_ps(b.s[r * b.ldg + step]));
      f[r].v[h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(c[r][h]), ds, f[r].v[h]);
    }
    if constexpr (has_minimum(kType)) {
      const __m512 m = scales_of<kType>(scales + kScalesBytes + 32 * h, factors + kPanel + 16 * h);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m512 t = _mm512_set1_ps(b.t[r * b.ldg + step]);
        f[r].v[h] = groups_per_unit(kType) > 1 ? _mm512_fnmadd_ps(t, m, f[r].v[h])
                                               : _mm512_fmadd_ps(t, m, f[r].v[h]);
      }
    }
  }
}

// The sums of both halves of a group times their factors. Q6_K: in float, where they are exact
// (below 2^24): fma(float(S1), sc1, fma(float(S0), sc0, 0)); adding to 0 keeps a zero's sign that
// of an integer. Q3_K's sums fit into 16 bits: vpmaddwd, then vpdpwssd.
template <WeightType kType>
struct HalfSums;

template <>
struct HalfSums<WeightType::kQ6_K> {
  using Vector = __m512;
  STET_INLINE Vector factors(const std::byte* p) { return _mm512_cvtepi32_ps(signed_bytes16(p)); }
  STET_INLINE Vector first(__m512i sum, Vector sc) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), sc, _mm512_setzero_ps());
  }
  STET_INLINE __m512 both(Vector before, __m512i sum, Vector sc) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), sc, before);
  }
};

template <>
struct HalfSums<WeightType::kQ3_K> {
  using Vector = __m512i;
  STET_INLINE Vector factors(const std::byte* p) {
    return _mm512_and_si512(signed_bytes16(p), _mm512_set1_epi32(0xFFFF));
  }
  STET_INLINE Vector first(__m512i sum, Vector sc) { return _mm512_madd_epi16(sum, sc); }
  STET_INLINE __m512 both(Vector before, __m512i sum, Vector sc) {
    return _mm512_cvtepi32_ps(_mm512_dpwssd_epi32(before, sum, sc));
  }
};

// Q6_K and Q3_K, one group.
template <WeightType kType, int kRows>
STET_INLINE void add_signed_group(const Block& b, const std::byte* unit, const std::byte* group,
                                  size_t step, Pair (&f)[kRows]) {
  using Halves = HalfSums<kType>;
  const std::byte* factors = group + group_scales_at(kType);
  const int8_t* q = b.q + step * kGroup;
  constexpr auto kOffset = static_cast<uint16_t>(-code_offset(kType));
  __m512i c[kRows][2];
  typename Halves::Vector first[kRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const __m512i a = _mm512_set1_epi32(b.a[r * b.ldg + step]);
    c[r][0] = c[r][1] = _mm512_madd_epi16(a, _mm512_set1_epi32(kOffset));
  }
  dot_steps<kType, 0, 4, kRows>(group, q, b.ldk, c);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const auto sc = Halves::factors(factors + 16 * h);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      first[r][h] = Halves::first(c[r][h], sc);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const __m512i a = _mm512_set1_epi32(b.a[r * b.ldg + step]);
    c[r][0] = c[r][1] =
        _mm512_madd_epi16(a, _mm512_set1_epi32(static_cast<int32_t>(uint32_t{kOffset} << 16)));
  }
  dot_steps<kType, 4, 8, kRows>(group, q, b.ldk, c);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const auto sc = Halves::factors(factors + kPanel + 16 * h);
    const __m512 d = half_scales(unit + unit_scales_at(kType) + 32 * h);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 sum = Halves::both(first[r][h], c[r][h], sc);
      const __m512 ds = _mm512_mul_ps(d, _mm512_set1_ps(b.s[r * b.ldg + step]));
      f[r].v[h] = _mm512_fmadd_ps(sum, ds, f[r].v[h]);
    }
  }
}

template <int kStep, int kRows>
STET_INLINE void dot_scaled_steps(const std::byte* group, const __m512i (&tables)[2][2],
                                  const int8_t* q, size_t ldk, __m512i (&c)[kRows][2]) {
  if constexpr (kStep < 8) {
    const __m512i(&table)[2] = tables[kStep / 4];
    dot_step<kRows>(c, scaled_codes_of<kStep>(group, table[0]),
                    scaled_codes_of<kStep>(group + 64, table[1]), q + kStep * 4, ldk);
    dot_scaled_steps<kStep + 1, kRows>(group, tables, q, ldk, c);
  }
}

// Q2_K, one group: codes times factors are bytes, so that there is one sum; then
// acc = fma(float(A'), -(m*s), acc).
template <int kRows>
STET_INLINE void add_q2_k_group(const Block& b, const std::byte* unit, const std::byte* group,
                                size_t step, Pair (&f)[kRows]) {
  constexpr WeightType kType = WeightType::kQ2_K;
  const std::byte* scales = unit + unit_scales_at(kType);
  const std::byte* at = group + group_scales_at(kType);
  __m512i factors[2][2];  // [half of the group][half of the columns]
  __m512i tables[2][2];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    factors[i / 2][i % 2] = bytes16(at + 16 * i);
    tables[i / 2][i % 2] = scaled_codes(factors[i / 2][i % 2]);
  }
  __m512i c[kRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    c[r][0] = c[r][1] = _mm512_setzero_si512();
  }
  dot_scaled_steps<0, kRows>(group, tables, b.q + step * kGroup, b.ldk, c);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512 d = half_scales(scales + 32 * h);
    const __m512 m = half_scales(scales + kScalesBytes + 32 * h);
    const __m512i mn =
        _mm512_srli_epi16(_mm512_or_si512(factors[0][h], _mm512_slli_epi32(factors[1][h], 16)), 4);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 s = _mm512_set1_ps(b.s[r * b.ldg + step]);
      const __m512i a = _mm512_madd_epi16(_mm512_set1_epi32(b.a[r * b.ldg + step]), mn);
      const __m512 v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(c[r][h]), _mm512_mul_ps(d, s), f[r].v[h]);
      f[r].v[h] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(a), _mm512_mul_ps(m, s), v);
    }
  }
}

template <WeightType kType, int kRows>
STET_INLINE void quantised_sums(const Block& b, Pair (&f)[kRows]) {
  constexpr uint32_t kGroups = groups_per_unit(kType);
  const std::byte* unit = b.w;
  for (uint32_t u = 0; u < b.units; ++u, unit += panel_unit_bytes(kType)) {
    for (uint32_t g = 0; g < kGroups; ++g) {
      prefetch_part<kGroups>(b, u, g);
      const std::byte* group = unit + g * group_bytes(kType);
      const size_t step = size_t{u} * kGroups + g;
      if constexpr (kType == WeightType::kQ2_K) {
        add_q2_k_group<kRows>(b, unit, group, step, f);
      } else if constexpr (has_half_factors(kType)) {
        add_signed_group<kType, kRows>(b, unit, group, step, f);
      } else {
        add_group<kType, kRows>(b, unit, group, step, f);
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
void linear_q5_0(const LinearArgs& args) {
  linear<WeightType::kQ5_0>(args);
}
void linear_q5_1(const LinearArgs& args) {
  linear<WeightType::kQ5_1>(args);
}
void linear_q4_k(const LinearArgs& args) {
  linear<WeightType::kQ4_K>(args);
}
void linear_q5_k(const LinearArgs& args) {
  linear<WeightType::kQ5_K>(args);
}
void linear_q6_k(const LinearArgs& args) {
  linear<WeightType::kQ6_K>(args);
}
void linear_q2_k(const LinearArgs& args) {
  linear<WeightType::kQ2_K>(args);
}
void linear_q3_k(const LinearArgs& args) {
  linear<WeightType::kQ3_K>(args);
}
void linear_iq4_nl(const LinearArgs& args) {
  linear<WeightType::kIQ4_NL>(args);
}
void embed(const PackedMatrix& w, uint32_t token_id, float scale, float* out) {
  reference::embed(w, token_id, scale, out);
}

}  // namespace stet::kernels::avx512
