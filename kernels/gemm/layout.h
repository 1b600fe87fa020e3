// The packed layout of weights. A panel is 32 output columns; inside it one stream, k ascending:
//
//   F32, F16, BF16  per k: 32 values (128, 64, 64 B)
//   Q4_1   640 B    per group of 32 k: [4 steps z][2 halves of 16 columns][16 columns][4 bytes],
//                   then f16 d[32], f16 m[32]. Byte i of a column: low nibble = code of k = 8z+i,
//                   high nibble = code of k = 8z+4+i.
//   Q4_0   576 B    the same without m
//   Q8_0  1088 B    [8 steps z][2][16][4 bytes]: weight + 128 of k = 4z+i. Then f16 d[32].
//
// One 512-bit load is 16 columns x 4 k (x 2 with nibbles), the unsigned operand of vpdpbusd; a
// 256-bit one 8 columns of it. Missing columns of the last panel have weight zero.
#pragma once

#include "kernels/numerics/bits.h"
#include "stet/kernels/types.h"

namespace stet::kernels {

static inline constexpr uint32_t kCodes4Bytes = kPanel * kGroup / 2;
static inline constexpr uint32_t kCodes8Bytes = kPanel * kGroup;
static inline constexpr uint32_t kScalesBytes = kPanel * 2;

// Bytes of one panel and group of 32 k (quantised types), or of one panel and one k (float types).
static inline constexpr uint32_t panel_unit_bytes(WeightType type) {
  switch (type) {
    case WeightType::kF32: return kPanel * 4;
    case WeightType::kF16:
    case WeightType::kBF16: return kPanel * 2;
    case WeightType::kQ4_0: return kCodes4Bytes + kScalesBytes;
    case WeightType::kQ4_1: return kCodes4Bytes + 2 * kScalesBytes;
    case WeightType::kQ8_0: return kCodes8Bytes + kScalesBytes;
  }
  return 0;
}

static inline constexpr size_t panel_bytes(WeightType type, uint32_t k) {
  return size_t{is_quantised(type) ? k / kGroup : k} * panel_unit_bytes(type);
}

static_assert(panel_unit_bytes(WeightType::kQ4_1) == 640 &&
              panel_unit_bytes(WeightType::kQ8_0) == 1088);

// What is subtracted from the stored codes: the symmetric types fold it into the integer sum (C1).
static inline constexpr int32_t code_offset(WeightType type) {
  return type == WeightType::kQ8_0 ? 128 : type == WeightType::kQ4_0 ? 8 : 0;
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

static inline uint8_t byte_at(const std::byte* p) {
  return static_cast<uint8_t>(*p);
}

// The 32 codes of one k of a group (0..31), all columns of the panel.
static inline uint8_t packed_code(WeightType type, const std::byte* unit, uint32_t k, uint32_t c) {
  if (type == WeightType::kQ8_0) {
    return byte_at(unit + code_byte(k / 4, c) + k % 4);
  }
  const uint8_t both = byte_at(unit + code_byte(k / 8, c) + k % 4);
  return k % 8 < 4 ? both & 15 : both >> 4;
}

static inline float packed_scale(WeightType type, const std::byte* unit, uint32_t c) {
  return f16_to_float(
      load_u16(unit + (type == WeightType::kQ8_0 ? kCodes8Bytes : kCodes4Bytes) + 2 * c));
}

static inline float packed_min(const std::byte* unit, uint32_t c) {
  return f16_to_float(load_u16(unit + kCodes4Bytes + kScalesBytes + 2 * c));
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
