// The packed layout of weights. A panel is 32 output columns; inside it one stream of units, k
// ascending:
//
//   F32, F16, BF16  a unit is one k: 32 values (128, 64, 64 B)
//   others          a unit is one block of the file: its groups of 32 k, then f16 d[32], then with
//                   a minimum f16 m[32]
//
//   a group       codes   high bits  scales          k per unit   unit
//   Q4_0          512 B                              32            576 B
//   Q4_1          512                                32            640
//   Q5_0          512     128                        32            704
//   Q5_1          512     128                        32            768
//   Q8_0          1024                               32          1,088
//   Q4_K          512                u8 sc, mn [32]  256         4,736
//   Q5_K          512     128        u8 sc, mn [32]  256         5,760
//   Q6_K          512     256        i8 sc [2][32]   256         6,720
//   Q2_K          256                u8 [2][32]      256         2,688
//   Q3_K          256     128        i8 sc [2][32]   256         3,648
//   IQ4_NL        512                                32            576
//
// 4-bit codes: [4 steps z][2 halves of 16 columns][16 columns][4 bytes]; byte i of a column: low
// nibble = code of k = 8z+i, high nibble = code of k = 8z+4+i. Q8_0: [8 steps z][2][16][4 bytes]:
// weight + 128 of k = 4z+i. One 512-bit load is 16 columns x 4 k (x 2 with nibbles), the unsigned
// operand of vpdpbusd; a 256-bit one 8 columns of it. IQ4_NL's codes are places in a table of
// signed bytes.
//
// High bits: 32 bits per column, bit 8i + k/4 of it the bit of k = 4(k/4)+i; Q6_K twice 32 bits per
// column, for k below 16 and from there, two at 8i + 2(k/4 % 4): for every four k one shift brings
// the bits to the bytes of their codes. The codes of Q2_K and the low two bits of Q3_K's lie like
// Q6_K's high bits.
//
// The K types keep the scales of their groups: Q4_K and Q5_K 6-bit factors of d and m; per 16 k a
// signed factor in Q6_K and Q3_K, and in Q2_K one of 4 bits with that of m above it. Missing
// columns of the last panel have weight zero.
#pragma once

#include "kernels/numerics/bits.h"
#include "stet/kernels/types.h"

namespace stet::kernels {

static inline constexpr uint32_t kCodes4Bytes = kPanel * kGroup / 2;
static inline constexpr uint32_t kCodes8Bytes = kPanel * kGroup;
static inline constexpr uint32_t kCodes2Bytes = kPanel * kGroup / 4;
static inline constexpr uint32_t kHighBitBytes = kPanel * kGroup / 8;  // one bit of every code
static inline constexpr uint32_t kScalesBytes = kPanel * 2;

static inline constexpr bool has_minimum(WeightType type) {
  return type == WeightType::kQ4_1 || type == WeightType::kQ5_1 || type == WeightType::kQ4_K ||
         type == WeightType::kQ5_K || type == WeightType::kQ2_K;
}

// Types whose factors of d are per 16 k: the sums of both halves of a group meet as integers.
static inline constexpr bool has_half_factors(WeightType type) {
  return type == WeightType::kQ6_K || type == WeightType::kQ2_K || type == WeightType::kQ3_K;
}

// Bits of a code that lie together: 2, 4 or 8.
static inline constexpr uint32_t low_bits(WeightType type) {
  return type == WeightType::kQ8_0                                ? 8
         : type == WeightType::kQ2_K || type == WeightType::kQ3_K ? 2
                                                                  : 4;
}

static inline constexpr uint32_t code_bytes(WeightType type) {
  return low_bits(type) == 8 ? kCodes8Bytes : low_bits(type) == 2 ? kCodes2Bytes : kCodes4Bytes;
}

// Bits of a code beyond those, for the types with a plane of them.
static inline constexpr uint32_t high_bits(WeightType type) {
  switch (type) {
    case WeightType::kQ5_0:
    case WeightType::kQ5_1:
    case WeightType::kQ5_K:
    case WeightType::kQ3_K: return 1;
    case WeightType::kQ6_K: return 2;
    default: return 0;
  }
}

static inline constexpr uint32_t groups_per_unit(WeightType type) {
  return is_quantised(type) ? block_elements(type) / kGroup : 1;
}

// Of a quantised type.
static inline constexpr uint32_t group_bytes(WeightType type) {
  const uint32_t scales = groups_per_unit(type) > 1 ? 2 * kPanel : 0;
  return code_bytes(type) + high_bits(type) * kHighBitBytes + scales;
}

// Where d begins in a unit of a quantised type, and a group's scales in the group.
static inline constexpr uint32_t unit_scales_at(WeightType type) {
  return groups_per_unit(type) * group_bytes(type);
}
static inline constexpr uint32_t group_scales_at(WeightType type) {
  return code_bytes(type) + high_bits(type) * kHighBitBytes;
}

static inline constexpr uint32_t panel_unit_bytes(WeightType type) {
  switch (type) {
    case WeightType::kF32: return kPanel * 4;
    case WeightType::kF16:
    case WeightType::kBF16: return kPanel * 2;
    default: return unit_scales_at(type) + (has_minimum(type) ? 2 : 1) * kScalesBytes;
  }
}

static inline constexpr size_t panel_bytes(WeightType type, uint32_t k) {
  return size_t{k / block_elements(type)} * panel_unit_bytes(type);
}

static_assert(panel_unit_bytes(WeightType::kQ4_1) == 640 &&
              panel_unit_bytes(WeightType::kQ8_0) == 1088 &&
              panel_unit_bytes(WeightType::kQ4_K) == 4736 &&
              panel_unit_bytes(WeightType::kQ6_K) == 6720 &&
              panel_unit_bytes(WeightType::kQ2_K) == 2688 &&
              panel_unit_bytes(WeightType::kQ3_K) == 3648 &&
              panel_unit_bytes(WeightType::kIQ4_NL) == 576);

// What is subtracted from the stored codes: the symmetric types fold it into the integer sum (C1).
static inline constexpr int32_t code_offset(WeightType type) {
  switch (type) {
    case WeightType::kQ8_0: return 128;
    case WeightType::kQ4_0: return 8;
    case WeightType::kQ5_0: return 16;
    case WeightType::kQ6_K: return 32;
    case WeightType::kQ3_K: return 4;
    default: return 0;
  }
}

// IQ4_NL: what the codes 0..15 stand for.
static inline constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                 1,    13,   25,  38,  53,  69,  89,  113};

// The integer that a stored code stands for.
static inline constexpr int32_t code_value(WeightType type, uint32_t code) {
  return type == WeightType::kIQ4_NL ? kNonLinear[code]
                                     : static_cast<int32_t>(code) - code_offset(type);
}

// Byte of column c (0..31) and step z; its position i within the four bytes is added by the caller.
static inline constexpr uint32_t code_byte(uint32_t z, uint32_t c) {
  return z * (kPanel * 4) + (c / 16) * 64 + (c % 16) * 4;
}

static inline uint16_t load_u16(const std::byte* p) {
  uint16_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

static inline uint32_t load_u32(const std::byte* p) {
  uint32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

static inline uint8_t byte_at(const std::byte* p) {
  return static_cast<uint8_t>(*p);
}

// Where the bits of k (0..31) and column c are in a plane of one or two bits per code: 32 bits at
// this byte of the plane, shifted.
struct PlaneBits {
  uint32_t byte;
  uint32_t shift;
};
static inline constexpr PlaneBits plane_bits(uint32_t bits, uint32_t k, uint32_t c) {
  if (bits == 1) {
    return {4 * c, 8 * (k % 4) + k / 4};
  }
  return {k / 16 * kHighBitBytes + 4 * c, 8 * (k % 4) + 2 * (k / 4 % 4)};
}
static inline uint32_t plane_code(uint32_t bits, const std::byte* plane, uint32_t k, uint32_t c) {
  const PlaneBits at = plane_bits(bits, k, c);
  return load_u32(plane + at.byte) >> at.shift & ((1u << bits) - 1);
}

// The stored code of one k of a group (0..31) and column.
static inline uint8_t packed_code(WeightType type, const std::byte* group, uint32_t k, uint32_t c) {
  if (type == WeightType::kQ8_0) {
    return byte_at(group + code_byte(k / 4, c) + k % 4);
  }
  uint32_t code = 0;
  if (low_bits(type) == 2) {
    code = plane_code(2, group, k, c);
  } else {
    const uint8_t both = byte_at(group + code_byte(k / 8, c) + k % 4);
    code = k % 8 < 4 ? both & 15 : both >> 4;
  }
  if (high_bits(type) > 0) {
    code |= plane_code(high_bits(type), group + code_bytes(type), k, c) << low_bits(type);
  }
  return static_cast<uint8_t>(code);
}

// d_g and m_g of C1; exact, for a factor has 6 bits. Types with half factors: those of the block;
// their factors are in packed_factor and packed_min_factor.
static inline float packed_scale(WeightType type, const std::byte* unit, uint32_t g, uint32_t c) {
  const float d = f16_to_float(load_u16(unit + unit_scales_at(type) + 2 * c));
  if (type == WeightType::kQ4_K || type == WeightType::kQ5_K) {
    const std::byte* sc = unit + g * group_bytes(type) + group_scales_at(type);
    return d * static_cast<float>(byte_at(sc + c));
  }
  return d;
}

static inline float packed_min(WeightType type, const std::byte* unit, uint32_t g, uint32_t c) {
  const float m = f16_to_float(load_u16(unit + unit_scales_at(type) + kScalesBytes + 2 * c));
  if (type == WeightType::kQ4_K || type == WeightType::kQ5_K) {
    const std::byte* mn = unit + g * group_bytes(type) + group_scales_at(type) + kPanel;
    return -(m * static_cast<float>(byte_at(mn + c)));
  }
  return m;
}

// The integer factor of k (0..31): 1 without half factors.
static inline int32_t packed_factor(WeightType type, const std::byte* group, uint32_t k,
                                    uint32_t c) {
  if (!has_half_factors(type)) {
    return 1;
  }
  const uint8_t factor = byte_at(group + group_scales_at(type) + k / 16 * kPanel + c);
  return type == WeightType::kQ2_K ? factor & 15 : static_cast<int8_t>(factor);
}

// Q2_K: the factor of the minimum of k (0..31).
static inline int32_t packed_min_factor(WeightType type, const std::byte* group, uint32_t k,
                                        uint32_t c) {
  return byte_at(group + group_scales_at(type) + k / 16 * kPanel + c) >> 4;
}

// Float types: weight of column c in the unit of one k.
static inline float packed_float(WeightType type, const std::byte* unit, uint32_t c) {
  if (type == WeightType::kF32) {
    float v;
    __builtin_memcpy(&v, unit + 4 * c, sizeof v);
    return v;
  }
  const uint16_t h = load_u16(unit + 2 * c);
  return type == WeightType::kF16 ? f16_to_float(h) : bf16_to_float(h);
}

}  // namespace stet::kernels
