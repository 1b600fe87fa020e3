// From panels to operands on AVX-512: the codes of four k and 16 columns as the unsigned operand of
// vpdpbusd, and the scales of a group.
#pragma once

#include "kernels/gemm/avx512.h"

namespace stet::kernels::avx512 {
namespace {

// What the operands of codes_of have more than the weights.
constexpr int32_t stored_offset(WeightType type) {
  return type == WeightType::kIQ4_NL ? 128 : code_offset(type);
}

// (a & mask) | b
STET_INLINE __m512i and_or(__m512i a, __m512i mask, __m512i b) {
  return _mm512_ternarylogic_epi32(a, mask, b, 0xEA);
}

// A plane of kBits bits per code, of the 16 columns at p: those of four k (step 0..7), moved up by
// kUp; other bits of the bytes are not cleared.
template <int kBits, int kStep, int kUp>
STET_INLINE __m512i raw_plane(const std::byte* p) {
  constexpr int kAt = kBits == 1 ? kStep : 2 * (kStep % 4);  // of the byte; kUp is wanted
  const __m512i bits = load512(p + (kBits == 2 ? kStep / 4 * kHighBitBytes : 0));
  if constexpr (kAt == kUp) {
    return bits;
  }
  return kAt < kUp ? _mm512_slli_epi32(bits, kUp - kAt) : _mm512_srli_epi32(bits, kAt - kUp);
}

// IQ4_NL's values + 128 by their codes.
STET_INLINE __m512i non_linear(__m512i codes) {
  const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kNonLinear));
  const __m128i biased = _mm_xor_si128(values, _mm_set1_epi8(-128));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(biased), codes);
}

// Codes of four k (step 0..7 of a group) and 16 columns, whose first byte is at p.
template <WeightType kType, int kStep>
STET_INLINE __m512i codes_of(const std::byte* p) {
  if constexpr (low_bits(kType) == 8) {
    return load512(p + kStep * 128);
  }
  constexpr int kLow = static_cast<int>(low_bits(kType));
  constexpr int kHigh = static_cast<int>(high_bits(kType));
  __m512i low;
  if constexpr (kLow == 2) {
    low = raw_plane<2, kStep, 0>(p);
  } else {
    const __m512i both = load512(p + kStep / 2 * 128);
    low = kStep % 2 == 0 ? both : _mm512_srli_epi16(both, 4);
  }
  const __m512i low_mask = _mm512_set1_epi8((1 << kLow) - 1);
  if constexpr (kHigh > 0) {
    const __m512i high = _mm512_and_si512(raw_plane<kHigh, kStep, kLow>(p + code_bytes(kType)),
                                          _mm512_set1_epi8(((1 << kHigh) - 1) << kLow));
    return and_or(low, low_mask, high);
  }
  const __m512i code = _mm512_and_si512(low, low_mask);
  return kType == WeightType::kIQ4_NL ? non_linear(code) : code;
}

STET_INLINE __m512i bytes16(const std::byte* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// Q2_K: code * sc of every column, by code: four bytes 0, sc, 2 sc, 3 sc.
STET_INLINE __m512i scaled_codes(__m512i factors) {
  const __m512i sc = _mm512_and_si512(factors, _mm512_set1_epi32(15));
  const __m512i twice = _mm512_or_si512(sc, _mm512_slli_epi32(sc, 16));
  return _mm512_mullo_epi16(twice, _mm512_set1_epi32(0x03020100));
}

// Q2_K: the weights of four k times their factor, at most 45.
template <int kStep>
STET_INLINE __m512i scaled_codes_of(const std::byte* p, __m512i table) {
  // Byte shuffles look up within 16 bytes: those of four columns.
  const __m512i column =
      _mm512_broadcast_i32x4(_mm_setr_epi32(0x00000000, 0x04040404, 0x08080808, 0x0C0C0C0C));
  const __m512i place = and_or(raw_plane<2, kStep, 0>(p), _mm512_set1_epi8(3), column);
  return _mm512_shuffle_epi8(table, place);
}

STET_INLINE __m512i signed_bytes16(const std::byte* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// d_g and |m_g| of 16 columns; the K types' minimum is subtracted.
template <WeightType kType>
STET_INLINE __m512 scales_of(const std::byte* at, const std::byte* factors) {
  const __m512 d = half_scales(at);
  constexpr bool kScaled = kType == WeightType::kQ4_K || kType == WeightType::kQ5_K;
  return kScaled ? _mm512_mul_ps(d, _mm512_cvtepi32_ps(bytes16(factors))) : d;
}

}  // namespace
}  // namespace stet::kernels::avx512
