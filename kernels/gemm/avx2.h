// Linears (C1) on 8 lanes, over a Dot that says how four products of a column are summed: with
// vpmaddubsw (AVX2) or with vpdpbusd (AVX-VNNI). 1-4 rows x 16 columns meet a group of 32 k in
// registers; the float accumulators of 32 columns live in L1. Nibbles are unpacked in registers,
// once for all rows of the block.
#pragma once

#include "kernels/gemm/blocks.h"
#include "kernels/gemm/reference.h"
#include "kernels/numerics/avx2.h"

namespace stet::kernels {
namespace {

constexpr uint32_t kMaxRows = 4;
constexpr int kLanes = 8;
constexpr int kColumns = 2 * kLanes;  // of one pass over a group

struct Sums {
  alignas(32) float v[kMaxRows][kPanel];
};

STET_INLINE __m256i load256(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

STET_INLINE __m256i broadcast4(const int8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}

// S of kRows rows x 16 columns over one group, before offsets: codes at w, activations of row r at
// q[r].
template <class Dot, WeightType kType, int kRows>
STET_INLINE void integer_sums(const std::byte* w, const int8_t* const (&q)[kRows],
                              __m256i (&c)[kRows][2]) {
  if constexpr (kType == WeightType::kQ8_0) {
#pragma GCC unroll 8
    for (int z = 0; z < 8; ++z) {
      const __m256i w0 = load256(w + z * 128);
      const __m256i w1 = load256(w + z * 128 + 32);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m256i x = broadcast4(q[r] + z * 4);
        c[r][0] = Dot::add_bytes(c[r][0], w0, x);
        c[r][1] = Dot::add_bytes(c[r][1], w1, x);
      }
    }
    return;
  }
  const __m256i low = _mm256_set1_epi8(15);
#pragma GCC unroll 4
  for (int z = 0; z < 4; ++z) {
    const __m256i both0 = load256(w + z * 128);
    const __m256i both1 = load256(w + z * 128 + 32);
#pragma GCC unroll 2
    for (int nibble = 0; nibble < 2; ++nibble) {
      const __m256i w0 = _mm256_and_si256(nibble == 0 ? both0 : _mm256_srli_epi16(both0, 4), low);
      const __m256i w1 = _mm256_and_si256(nibble == 0 ? both1 : _mm256_srli_epi16(both1, 4), low);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m256i x = broadcast4(q[r] + z * 8 + nibble * 4);
        c[r][0] = Dot::add_nibbles(c[r][0], w0, x);
        c[r][1] = Dot::add_nibbles(c[r][1], w1, x);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    c[r][0] = Dot::sum_nibbles(c[r][0]);
    c[r][1] = Dot::sum_nibbles(c[r][1]);
  }
}

// What a table subtracts from S: the symmetric types' offset times A, as far as Dot has not seen
// to it.
template <class Dot, WeightType kType>
STET_INLINE __m256i less_offset(__m256i sum, const int32_t* a) {
  if constexpr (kType == WeightType::kQ4_0) {
    return _mm256_sub_epi32(sum, _mm256_slli_epi32(_mm256_set1_epi32(*a), 3));
  } else if constexpr (kType == WeightType::kQ8_0 && !Dot::kSignedBytes) {
    return _mm256_sub_epi32(sum, _mm256_slli_epi32(_mm256_set1_epi32(*a), 7));
  }
  return sum;
}

template <class Dot, WeightType kType, int kRows>
STET_INLINE void quantised_sums(const Block& b, Sums* f) {
  constexpr uint32_t kUnit = panel_unit_bytes(kType);
  constexpr uint32_t kScales = kUnit - (kType == WeightType::kQ4_1 ? 2 : 1) * kScalesBytes;
  const std::byte* w = b.w;
  const int8_t* q[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    q[r] = b.q + r * b.ldk;
  }
  for (uint32_t g = 0; g < b.units; ++g, w += kUnit) {
    prefetch_unit(b, g);
    for (uint32_t first = 0; first < kPanel; first += kColumns) {
      __m256i c[kRows][2];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        c[r][0] = c[r][1] = _mm256_setzero_si256();
        // Opaque, or g++ keeps all broadcasts of the group and spills them.
        __asm__ volatile("" : "+r"(q[r]));
      }
      integer_sums<Dot, kType, kRows>(w + first * 4, q, c);
      const std::byte* scales = w + kScales + first * 2;
      const __m256 d[2] = {load_f16(scales), load_f16(scales + 16)};
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const size_t at = r * b.ldg + g;
        const __m256 s = _mm256_set1_ps(b.s[at]);
#pragma GCC unroll 2
        for (int j = 0; j < 2; ++j) {
          float* acc = f->v[r] + first + j * kLanes;
          const __m256i sum = less_offset<Dot, kType>(c[r][j], b.a + at);
          __m256 v =
              _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(d[j], s), _mm256_load_ps(acc));
          if constexpr (kType == WeightType::kQ4_1) {
            v = _mm256_fmadd_ps(_mm256_set1_ps(b.t[at]), load_f16(scales + kScalesBytes + 16 * j),
                                v);
          }
          _mm256_store_ps(acc, v);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      q[r] += kGroup;
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
  for (uint32_t first = 0; first < kPanel; first += kColumns) {
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

template <class Dot, WeightType kType, int kRows>
void compute_block(const LinearArgs& args, const Block& b, uint32_t row, uint32_t panel) {
  Sums f;
  if constexpr (is_quantised(kType)) {
    for (int r = 0; r < kRows; ++r) {
      for (uint32_t c = 0; c < kPanel; c += kLanes) {
        _mm256_store_ps(f.v[r] + c, _mm256_setzero_ps());
      }
    }
    quantised_sums<Dot, kType, kRows>(b, &f);
    finish(args, row, kRows, panel, args.w->num_outliers, f);
  } else {
    float_sums<kType, kRows>(b, &f);
    finish(args, row, kRows, panel, 0, f);
  }
}

template <class Dot, WeightType kType>
constexpr BlockFn kBlockFns[kMaxRows] = {compute_block<Dot, kType, 1>, compute_block<Dot, kType, 2>,
                                         compute_block<Dot, kType, 3>,
                                         compute_block<Dot, kType, 4>};

template <class Dot, WeightType kType>
STET_INLINE void linear_lanes(const LinearArgs& args) {
  linear_blocks<kType>(args, kBlockFns<Dot, kType>);
}

}  // namespace
}  // namespace stet::kernels
