// Linears (C1) on AVX2. 1-4 rows x 16 columns meet a group of 32 k in registers; the float
// accumulators of 32 columns live in L1. Codes are put together in registers, once for all rows of
// the block.
//
// vpmaddubsw adds two products in 16 bits and saturates, so it is exact only where they fit, and
// what is summed in 16 bits must be widened before it overflows. |q| <= 127 (C3).
//   4-bit codes  15 * 127 * 2 = 3,810 a pair, 30,480 the 8 steps of a group
//   5-bit codes  31 * 127 * 2 = 7,874 a pair, 31,496 the 4 steps of half a group
//   6-bit codes  63 * 127 * 2 = 16,002 a pair, 32,004 two steps
//   Q8_0         |w| * sign(q, w): 128 * 127 * 2 = 32,512, a pair at a time; IQ4_NL the same with
//                the values of its table
//   Q2_K, Q3_K   7 * 127 * 2 = 1,778 a pair, but the factor changes after half a group
//
// Bound: issue. Per row, 8 columns and group of 4-bit codes: 8 products, 8 additions, 1 widening,
// 1 conversion, 1 product of scales, 2 fma: 21 operations for 256 products.
// Dropped: 5 rows (no faster on Zen 3), 6 (slower: their sums no longer fit into 16 registers).
#include "kernels/dispatch/avx2_ops.h"
#include "kernels/gemm/blocks.h"
#include "kernels/gemm/reference.h"
#include "kernels/numerics/avx2.h"

namespace stet::kernels::avx2 {
namespace {

constexpr uint32_t kMaxRows = 4;
constexpr uint32_t kLanes = 8;
constexpr uint32_t kVecs = 2;  // of one pass over a group: 16 columns

struct Sums {
  alignas(32) float v[kMaxRows][kPanel];
};

STET_INLINE __m256i load256(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

STET_INLINE __m128i load64(const std::byte* p) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
}

STET_INLINE __m256i broadcast4(const int8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}

// sum + products, opaque, or g++ makes a tree of the sum and spills its leaves.
STET_INLINE __m256i add16(__m256i sum, __m256i products) {
  sum = _mm256_add_epi16(sum, products);
  __asm__("" : "+x"(sum));
  return sum;
}

STET_INLINE __m256i signed_products(__m256i w, __m256i x) {
  return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

// A plane of kBits bits per code, of the 8 columns at p: those of four k (step 0..7), moved up by
// kUp.
template <int kBits, int kStep, int kUp>
STET_INLINE __m256i plane_of(const std::byte* p) {
  constexpr int kAt = kBits == 1 ? kStep : 2 * (kStep % 4);  // of the byte; kUp is wanted
  const __m256i bits = load256(p + (kBits == 2 ? kStep / 4 * kHighBitBytes : 0));
  const __m256i moved =
      kAt <= kUp ? _mm256_slli_epi32(bits, kUp - kAt) : _mm256_srli_epi32(bits, kAt - kUp);
  return _mm256_and_si256(moved, _mm256_set1_epi8(((1 << kBits) - 1) << kUp));
}

// Codes of four k (step 0..7 of a group) and 8 columns, whose first byte is at p.
template <WeightType kType, int kStep>
STET_INLINE __m256i codes_of(const std::byte* p) {
  __m256i code;
  if constexpr (low_bits(kType) == 2) {
    code = plane_of<2, kStep, 0>(p);
  } else {
    const __m256i both = load256(p + kStep / 2 * 128);
    const __m256i nibbles = kStep % 2 == 0 ? both : _mm256_srli_epi16(both, 4);
    code = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
  }
  constexpr int kHigh = static_cast<int>(high_bits(kType));
  if constexpr (kHigh > 0) {
    code = _mm256_or_si256(
        code, plane_of<kHigh, kStep, static_cast<int>(low_bits(kType))>(p + code_bytes(kType)));
  }
  return code;
}

// Sums in 16 bits of kRows rows x 16 columns over four k. group: at the columns' first byte.
template <WeightType kType, int kStep, int kRows>
STET_INLINE void add_step(const std::byte* group, const int8_t* const (&q)[kRows],
                          __m256i (&c)[kRows][kVecs]) {
  __m256i w[kVecs];
#pragma GCC unroll 2
  for (uint32_t j = 0; j < kVecs; ++j) {
    w[j] = codes_of<kType, kStep>(group + 32 * j);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const __m256i x = broadcast4(q[r] + kStep * 4);
#pragma GCC unroll 2
    for (uint32_t j = 0; j < kVecs; ++j) {
      c[r][j] = add16(c[r][j], _mm256_maddubs_epi16(w[j], x));
    }
  }
}

// Where |weight| * 127 leaves no room for a second pair in 16 bits: signed weights w of four k.
template <int kRows>
STET_INLINE void add_wide_step(const __m256i (&w)[kVecs], int step, const int8_t* const (&q)[kRows],
                               __m256i (&sum)[kRows][kVecs]) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const __m256i x = broadcast4(q[r] + step * 4);
#pragma GCC unroll 2
    for (uint32_t j = 0; j < kVecs; ++j) {
      const __m256i four = _mm256_madd_epi16(signed_products(w[j], x), _mm256_set1_epi16(1));
      sum[r][j] = _mm256_add_epi32(sum[r][j], four);
      __asm__("" : "+x"(sum[r][j]));
    }
  }
}

STET_INLINE __m256i non_linear(__m256i codes) {
  const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kNonLinear));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), codes);
}

template <int kRows>
STET_INLINE void set_zero(__m256i (&c)[kRows][kVecs]) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (uint32_t j = 0; j < kVecs; ++j) {
      c[r][j] = _mm256_setzero_si256();
    }
  }
}

// The factors of d of 8 columns and half a group.
template <WeightType kType>
STET_INLINE __m256i half_factors(const std::byte* p) {
  return kType == WeightType::kQ2_K
             ? _mm256_and_si256(_mm256_cvtepu8_epi32(load64(p)), _mm256_set1_epi32(15))
             : _mm256_cvtepi8_epi32(load64(p));
}

// Two factors of every column, as 16 bits side by side.
STET_INLINE __m256i pair16(__m256i first, __m256i second) {
  return _mm256_blend_epi16(first, _mm256_slli_epi32(second, 16), 0xAA);
}

// Pairs of 16 bits summed to 32, times the factor of their half group where types have one.
template <WeightType kType, int kRows>
STET_INLINE void widen(const std::byte* factors, const __m256i (&c)[kRows][kVecs],
                       __m256i (&sum)[kRows][kVecs]) {
#pragma GCC unroll 2
  for (uint32_t j = 0; j < kVecs; ++j) {
    __m256i factor = _mm256_set1_epi16(1);
    if constexpr (has_half_factors(kType)) {
      const __m256i f = half_factors<kType>(factors + kLanes * j);
      factor = pair16(f, f);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      sum[r][j] = _mm256_add_epi32(sum[r][j], _mm256_madd_epi16(c[r][j], factor));
    }
  }
}

// S of a group before offsets. group: at the columns' first byte; factors: at the columns' first.
template <WeightType kType, int kRows>
STET_INLINE void integer_sums(const std::byte* group, const std::byte* factors,
                              const int8_t* const (&q)[kRows], __m256i (&sum)[kRows][kVecs]) {
  set_zero(sum);
  if constexpr (kType == WeightType::kQ8_0) {
#pragma GCC unroll 8
    for (int z = 0; z < 8; ++z) {
      const __m256i flip = _mm256_set1_epi8(-128);
      const __m256i w[kVecs] = {_mm256_xor_si256(load256(group + z * 128), flip),
                                _mm256_xor_si256(load256(group + z * 128 + 32), flip)};
      add_wide_step(w, z, q, sum);
    }
    return;
  }
  if constexpr (kType == WeightType::kIQ4_NL) {
#pragma GCC unroll 4
    for (int z = 0; z < 4; ++z) {
      const std::byte* p = group + z * 128;
      const __m256i low[kVecs] = {non_linear(codes_of<kType, 0>(p)),
                                  non_linear(codes_of<kType, 0>(p + 32))};
      add_wide_step(low, 2 * z, q, sum);
      const __m256i high[kVecs] = {non_linear(codes_of<kType, 1>(p)),
                                   non_linear(codes_of<kType, 1>(p + 32))};
      add_wide_step(high, 2 * z + 1, q, sum);
    }
    return;
  }
  __m256i c[kRows][kVecs];
  set_zero(c);
  add_step<kType, 0>(group, q, c);
  add_step<kType, 1>(group, q, c);
  if constexpr (kType == WeightType::kQ6_K) {
    widen<kType>(factors, c, sum);
    set_zero(c);
  }
  add_step<kType, 2>(group, q, c);
  add_step<kType, 3>(group, q, c);
  if constexpr (high_bits(kType) != 0 || has_half_factors(kType)) {
    widen<kType>(factors, c, sum);
    set_zero(c);
  }
  add_step<kType, 4>(group, q, c);
  add_step<kType, 5>(group, q, c);
  if constexpr (kType == WeightType::kQ6_K) {
    widen<kType>(factors + kPanel, c, sum);
    set_zero(c);
  }
  add_step<kType, 6>(group, q, c);
  add_step<kType, 7>(group, q, c);
  widen<kType>(factors + kPanel, c, sum);
}

// What the half sums of a row are multiplied with, of 8 columns: the offset of symmetric types
// where the codes still have it, times their factors; Q2_K's factors of the minimum.
template <WeightType kType>
STET_INLINE __m256i half_sum_factors(const std::byte* factors) {
  if constexpr (kType == WeightType::kQ3_K || kType == WeightType::kQ6_K) {
    const __m256i both =
        pair16(half_factors<kType>(factors), half_factors<kType>(factors + kPanel));
    return _mm256_slli_epi16(both, kType == WeightType::kQ3_K ? 2 : 5);
  }
  if constexpr (kType == WeightType::kQ2_K) {
    const __m256i both = pair16(_mm256_cvtepu8_epi32(load64(factors)),
                                _mm256_cvtepu8_epi32(load64(factors + kPanel)));
    return _mm256_srli_epi16(both, 4);
  }
  return _mm256_set1_epi16(static_cast<int16_t>(code_offset(kType)));
}

STET_INLINE __m256 factors8(const std::byte* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load64(p)));
}

// d_g and |m_g| of 8 columns; the K types' minimum is subtracted.
template <WeightType kType>
STET_INLINE __m256 scales_of(const std::byte* at, const std::byte* factors) {
  const __m256 d = load_f16(at);
  constexpr bool kScaled = kType == WeightType::kQ4_K || kType == WeightType::kQ5_K;
  return kScaled ? _mm256_mul_ps(d, factors8(factors)) : d;
}

// One group of kRows rows x 16 columns: acc = fma(float(S), d*s, acc), then fma(t, m, acc); Q2_K:
// fma(float(A'), -(m*s), acc).
template <WeightType kType, int kRows>
STET_INLINE void add_group(const Block& b, const std::byte* unit, uint32_t g, uint32_t first,
                           size_t step, const int8_t* const (&q)[kRows], Sums* f) {
  const std::byte* group = unit + g * group_bytes(kType);
  const std::byte* factors = group + group_scales_at(kType) + first;
  const std::byte* scales = unit + unit_scales_at(kType) + first * 2;
  constexpr bool kOffset = code_offset(kType) != 0 && kType != WeightType::kQ8_0;
  __m256i sum[kRows][kVecs];
  integer_sums<kType, kRows>(group + first * 4, factors, q, sum);
#pragma GCC unroll 2
  for (uint32_t j = 0; j < kVecs; ++j) {
    const __m256 d = scales_of<kType>(scales + 16 * j, factors + kLanes * j);
    __m256 m = d;
    if constexpr (has_minimum(kType)) {
      m = scales_of<kType>(scales + kScalesBytes + 16 * j, factors + kPanel + kLanes * j);
    }
    const __m256i of_halves = half_sum_factors<kType>(factors + kLanes * j);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      float* acc = f->v[r] + first + j * kLanes;
      const size_t at = r * b.ldg + step;
      __m256i integer = sum[r][j];
      if constexpr (kOffset) {
        const __m256i halves = _mm256_madd_epi16(_mm256_set1_epi32(b.a[at]), of_halves);
        integer = _mm256_sub_epi32(integer, halves);
      }
      const __m256 s = _mm256_set1_ps(b.s[at]);
      __m256 v =
          _mm256_fmadd_ps(_mm256_cvtepi32_ps(integer), _mm256_mul_ps(d, s), _mm256_load_ps(acc));
      if constexpr (kType == WeightType::kQ2_K) {
        const __m256i halves = _mm256_madd_epi16(_mm256_set1_epi32(b.a[at]), of_halves);
        v = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(halves), _mm256_mul_ps(m, s), v);
      } else if constexpr (has_minimum(kType)) {
        const __m256 t = _mm256_set1_ps(b.t[at]);
        v = groups_per_unit(kType) > 1 ? _mm256_fnmadd_ps(t, m, v) : _mm256_fmadd_ps(t, m, v);
      }
      _mm256_store_ps(acc, v);
    }
  }
}

template <WeightType kType, int kRows>
STET_INLINE void quantised_sums(const Block& b, Sums* f) {
  constexpr uint32_t kGroups = groups_per_unit(kType);
  const std::byte* unit = b.w;
  const int8_t* q[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    q[r] = b.q + r * b.ldk;
  }
  for (uint32_t u = 0; u < b.units; ++u, unit += panel_unit_bytes(kType)) {
    for (uint32_t g = 0; g < kGroups; ++g) {
      prefetch_part<kGroups>(b, u, g);
      for (uint32_t first = 0; first < kPanel; first += kVecs * kLanes) {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          // Opaque, or g++ keeps all broadcasts of the group and spills them.
          __asm__ volatile("" : "+r"(q[r]));
        }
        add_group<kType, kRows>(b, unit, g, first, size_t{u} * kGroups + g, q, f);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        q[r] += kGroup;
      }
    }
  }
}

// 8 weights of a float type as f32.
template <WeightType kType>
STET_INLINE __m256 load_weights(const std::byte* p) {
  if constexpr (kType == WeightType::kF32) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  } else {
    return kType == WeightType::kF16 ? load_f16(p) : load_bf16(p);
  }
}

// k outermost, 16 columns at a time.
template <WeightType kType, int kRows>
STET_INLINE void float_sums(const Block& b, Sums* f) {
  constexpr uint32_t kUnit = panel_unit_bytes(kType);
  for (uint32_t first = 0; first < kPanel; first += kVecs * kLanes) {
    const std::byte* w = b.w + first * (kUnit / kPanel);
    __m256 acc[kRows][2];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    }
    for (uint32_t k = 0; k < b.units; ++k, w += kUnit) {
      if (first == 0) {
        prefetch_unit(b, k);
      }
      const __m256 w0 = load_weights<kType>(w);
      const __m256 w1 = load_weights<kType>(w + kLanes * (kUnit / kPanel));
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m256 x = _mm256_set1_ps(b.x[r * b.ldk + k]);
        acc[r][0] = _mm256_fmadd_ps(x, w0, acc[r][0]);
        acc[r][1] = _mm256_fmadd_ps(x, w1, acc[r][1]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      _mm256_store_ps(f->v[r] + first, acc[r][0]);
      _mm256_store_ps(f->v[r] + first + kLanes, acc[r][1]);
    }
  }
}

// Outliers ascending, bias, residual, store.
STET_INLINE void finish(const LinearArgs& args, uint32_t row, uint32_t rows, uint32_t panel,
                        uint32_t outliers, const Sums& f) {
  const PackedMatrix& w = *args.w;
  const size_t stride = round_up(w.n, kPanel);
  for (uint32_t r = 0; r < rows; ++r) {
    const float* xo = args.in.xo + (size_t{row} + r) * kMaxOutliers;
    for (uint32_t c = 0; c < kPanel; c += kLanes) {
      const size_t col = size_t{panel} * kPanel + c;
      float* out = args.out + (size_t{row} + r) * args.ldo + col;
      __m256 v = _mm256_load_ps(f.v[r] + c);
      for (uint32_t o = 0; o < outliers; ++o) {
        const __m256 wo = _mm256_loadu_ps(w.outlier_w + o * stride + col);
        v = _mm256_fmadd_ps(_mm256_set1_ps(xo[o]), wo, v);
      }
      if (w.bias) {
        v = _mm256_add_ps(v, _mm256_loadu_ps(w.bias + col));
      }
      if (args.add) {
        v = _mm256_add_ps(_mm256_loadu_ps(out), v);
      }
      _mm256_storeu_ps(out, v);
    }
  }
}

template <WeightType kType, int kRows>
void compute_block(const LinearArgs& args, const Block& b, uint32_t row, uint32_t panel) {
  Sums f;
  if constexpr (is_quantised(kType)) {
    for (int r = 0; r < kRows; ++r) {
      for (uint32_t c = 0; c < kPanel; c += kLanes) {
        _mm256_store_ps(f.v[r] + c, _mm256_setzero_ps());
      }
    }
    quantised_sums<kType, kRows>(b, &f);
    finish(args, row, kRows, panel, args.w->num_outliers, f);
  } else {
    float_sums<kType, kRows>(b, &f);
    finish(args, row, kRows, panel, 0, f);
  }
}

template <WeightType kType>
constexpr BlockFn kBlockFns[kMaxRows] = {compute_block<kType, 1>, compute_block<kType, 2>,
                                         compute_block<kType, 3>, compute_block<kType, 4>};

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

}  // namespace stet::kernels::avx2
