// Packing, and single weights from file bytes. GGUF's blocks, in the order of their bytes:
//   Q4_0  18 B  f16 d, 16 B (low nibbles = elements 0..15, high = 16..31), value (code - 8) * d
//   Q4_1  20 B  f16 d, f16 m, 16 B, value code * d + m
//   Q5_0  22 B  f16 d, u32 fifth bits of elements 0..31, 16 B, value (code - 16) * d
//   Q5_1  24 B  f16 d, f16 m, u32, 16 B, value code * d + m
//   Q8_0  34 B  f16 d, 32 x int8, value code * d
//   Q4_K 144 B  f16 d, f16 dmin, 12 B (eight 6-bit sc, eight 6-bit mn), 128 B: 32 bytes hold two
//               groups of 32, the low and the high nibbles; value d * sc * code - dmin * mn
//   Q5_K 176 B  f16 d, f16 dmin, 12 B, 32 B (bit g of byte i: fifth bit of element i of group g),
//               128 B
//   Q6_K 210 B  128 B low nibbles, 64 B two high bits, 16 x int8 sc (one per 16 elements), f16 d;
//               each half of 128 elements has 64 and 32 of those bytes; value d * sc * (code - 32)
//   Q2_K  84 B  16 B (one per 16 elements: low nibble sc, high nibble mn), 64 B of two bits, f16 d,
//               f16 dmin; each half of 128 elements has 32 bytes, bits 2j of byte i are element
//               32j + i; value d * sc * code - dmin * mn
//   Q3_K 110 B  32 B (bit g of byte i: third bit of element i of group g), 64 B of two bits as in
//               Q2_K, 12 B (sixteen 6-bit sc, one per 16 elements), f16 d; value
//               d * (sc - 32) * (code - 4)
//   IQ4_NL 18 B as Q4_0, value kNonLinear[code] * d
#include "stet/kernels/pack.h"

#include <cstring>

#include "kernels/gemm/layout.h"
#include "kernels/numerics/fma.h"
#include "kernels/numerics/inline.h"

namespace stet::kernels {
namespace {

constexpr uint32_t file_block_bytes(WeightType type) {
  switch (type) {
    case WeightType::kF32: return 4;
    case WeightType::kF16:
    case WeightType::kBF16: return 2;
    case WeightType::kQ4_0: return 18;
    case WeightType::kQ4_1: return 20;
    case WeightType::kQ8_0: return 34;
    case WeightType::kQ5_0: return 22;
    case WeightType::kQ5_1: return 24;
    case WeightType::kQ4_K: return 144;
    case WeightType::kQ5_K: return 176;
    case WeightType::kQ6_K: return 210;
    case WeightType::kQ2_K: return 84;
    case WeightType::kQ3_K: return 110;
    case WeightType::kIQ4_NL: return 18;
  }
  return 0;
}

// Where d stands in a block; the minimum follows it.
constexpr uint32_t file_scale_at(WeightType type) {
  switch (type) {
    case WeightType::kQ6_K: return 208;
    case WeightType::kQ2_K: return 80;
    case WeightType::kQ3_K: return 108;
    default: return 0;
  }
}

bool finite_f16(const std::byte* p) {
  return (load_u16(p) & 0x7C00u) != 0x7C00u;
}

bool finite_value(WeightType type, const std::byte* p) {
  if (type == WeightType::kF16) {
    return finite_f16(p);
  }
  if (type == WeightType::kBF16) {
    return (load_u16(p) & 0x7F80u) != 0x7F80u;
  }
  uint32_t u;
  std::memcpy(&u, p, sizeof u);
  return (u & kNonFinite) != kNonFinite;
}

// One group of 32 of a file block. Codes stand four to a word, as everywhere below: packing is part
// of every start.
struct FileGroup {
  uint32_t codes[kGroup / 4];  // as stored in panels, k ascending
  // K types: the factor of d and the one of m; with half factors: those of both halves, as panels
  // have them.
  uint8_t factors[2];
};

constexpr uint32_t kLowNibbles = 0x0F0F0F0F;
constexpr uint32_t kLowPairs = 0x03030303;

// 1 in every byte whose bit of these four is set.
STET_INLINE uint32_t spread_bits(uint32_t four) {
  return four * 0x00204081u & 0x01010101u;
}

STET_INLINE void split_nibbles(const std::byte* src, uint32_t* codes) {
  for (uint32_t w = 0; w < 4; ++w) {
    const uint32_t both = load_u32(src + 4 * w);
    codes[w] = both & kLowNibbles;
    codes[w + 4] = both >> 4 & kLowNibbles;
  }
}

STET_INLINE void add_high_bits(uint32_t bits, uint32_t* codes) {
  for (uint32_t w = 0; w < 8; ++w) {
    codes[w] |= spread_bits(bits >> 4 * w & 15) << 4;
  }
}

// Q4_K and Q5_K: eight pairs of 6 bits in 12 bytes. The first four pairs lie in the low bits of
// bytes 0-3 and 4-7; the others have their low four bits in bytes 8-11, their high two above the
// first.
STET_INLINE void read_k_factors(const std::byte* packed, uint32_t g, uint8_t* factors) {
  const auto at = [&](uint32_t i) { return uint32_t{byte_at(packed + i)}; };
  const uint32_t sc = g < 4 ? at(g) & 63 : (at(g + 4) & 15) | (at(g - 4) >> 6) << 4;
  const uint32_t mn = g < 4 ? at(g + 4) & 63 : at(g + 4) >> 4 | (at(g) >> 6) << 4;
  factors[0] = static_cast<uint8_t>(sc);
  factors[1] = static_cast<uint8_t>(mn);
}

STET_INLINE void read_k_group(WeightType type, const std::byte* block, uint32_t g, FileGroup* out) {
  read_k_factors(block + 4, g, out->factors);
  const std::byte* high = block + 16;
  const std::byte* low = block + (type == WeightType::kQ5_K ? 48 : 16) + g / 2 * kGroup;
  for (uint32_t w = 0; w < 8; ++w) {
    const uint32_t fifth =
        type == WeightType::kQ5_K ? load_u32(high + 4 * w) >> g & 0x01010101u : 0;
    out->codes[w] = (load_u32(low + 4 * w) >> 4 * (g % 2) & kLowNibbles) | fifth << 4;
  }
}

STET_INLINE void read_q6_k_group(const std::byte* block, uint32_t g, FileGroup* out) {
  const std::byte* low = block + g / 4 * 64 + g % 2 * kGroup;
  const std::byte* high = block + 128 + g / 4 * kGroup;
  for (uint32_t w = 0; w < 8; ++w) {
    const uint32_t two = load_u32(high + 4 * w) >> 2 * (g % 4) & kLowPairs;
    out->codes[w] = (load_u32(low + 4 * w) >> 4 * (g % 4 / 2) & kLowNibbles) | two << 4;
  }
  out->factors[0] = byte_at(block + 192 + 2 * g);
  out->factors[1] = byte_at(block + 192 + 2 * g + 1);
}

// The two bits of a group of Q2_K and Q3_K.
STET_INLINE void read_pairs(const std::byte* pairs, uint32_t g, uint32_t* codes) {
  for (uint32_t w = 0; w < 8; ++w) {
    codes[w] = load_u32(pairs + g / 4 * kGroup + 4 * w) >> 2 * (g % 4) & kLowPairs;
  }
}

STET_INLINE void read_q2_k_group(const std::byte* block, uint32_t g, FileGroup* out) {
  read_pairs(block + 16, g, out->codes);
  std::memcpy(out->factors, block + 2 * g, 2);
}

// Factor i (0..15) of Q3_K: the low four bits of i and i + 8 share byte i, the high two of i, i +
// 4, i + 8, i + 12 share byte 8 + i.
STET_INLINE uint8_t read_q3_k_factor(const std::byte* packed, uint32_t i) {
  const uint32_t low = byte_at(packed + i % 8) >> i / 8 * 4 & 15u;
  const uint32_t high = byte_at(packed + 8 + i % 4) >> i / 4 * 2 & 3u;
  return static_cast<uint8_t>((low | high << 4) - 32u);
}

STET_INLINE void read_q3_k_group(const std::byte* block, uint32_t g, FileGroup* out) {
  read_pairs(block + 32, g, out->codes);
  for (uint32_t w = 0; w < 8; ++w) {
    out->codes[w] |= (load_u32(block + 4 * w) >> g & 0x01010101u) << 2;
  }
  out->factors[0] = read_q3_k_factor(block + 96, 2 * g);
  out->factors[1] = read_q3_k_factor(block + 96, 2 * g + 1);
}

STET_INLINE void read_group(WeightType type, const std::byte* block, uint32_t g, FileGroup* out) {
  switch (type) {
    case WeightType::kQ4_0:
    case WeightType::kIQ4_NL: split_nibbles(block + 2, out->codes); return;
    case WeightType::kQ4_1: split_nibbles(block + 4, out->codes); return;
    case WeightType::kQ5_0:
      split_nibbles(block + 6, out->codes);
      add_high_bits(load_u32(block + 2), out->codes);
      return;
    case WeightType::kQ5_1:
      split_nibbles(block + 8, out->codes);
      add_high_bits(load_u32(block + 4), out->codes);
      return;
    case WeightType::kQ6_K: read_q6_k_group(block, g, out); return;
    case WeightType::kQ2_K: read_q2_k_group(block, g, out); return;
    case WeightType::kQ3_K: read_q3_k_group(block, g, out); return;
    case WeightType::kQ4_K:
    case WeightType::kQ5_K: read_k_group(type, block, g, out); return;
    default:
      for (uint32_t w = 0; w < 8; ++w) {
        out->codes[w] = load_u32(block + 2 + 4 * w) ^ 0x80808080u;  // + 128 modulo 256
      }
  }
}

// Bits [shift, shift + bits) of the codes to the places of layout.h (plane_bits), four k at a time.
STET_INLINE void store_plane(uint32_t bits, uint32_t shift, const uint32_t* codes, uint32_t c,
                             std::byte* plane) {
  uint32_t words[2] = {0, 0};
  for (uint32_t w = 0; w < 8; ++w) {
    if (bits == 1) {
      words[0] |= (codes[w] >> shift & 0x01010101u) << w;
    } else {
      words[w / 4] |= (codes[w] >> shift & kLowPairs) << 2 * (w % 4);
    }
  }
  for (uint32_t half = 0; half < bits; ++half) {
    std::memcpy(plane + half * kHighBitBytes + 4 * c, words + half, 4);
  }
}

STET_INLINE void store_group(WeightType type, const FileGroup& from, uint32_t c, std::byte* group) {
  const uint32_t* codes = from.codes;
  if (type == WeightType::kQ8_0) {
    for (uint32_t z = 0; z < 8; ++z) {
      std::memcpy(group + code_byte(z, c), codes + z, 4);
    }
    return;
  }
  if (low_bits(type) == 2) {
    store_plane(2, 0, codes, c, group);
  }
  for (uint32_t z = 0; z < 4 && low_bits(type) == 4; ++z) {
    const uint32_t both = (codes[2 * z] & kLowNibbles) | (codes[2 * z + 1] & kLowNibbles) << 4;
    std::memcpy(group + code_byte(z, c), &both, 4);
  }
  if (high_bits(type) > 0) {
    store_plane(high_bits(type), low_bits(type), codes, c, group + code_bytes(type));
  }
  if (groups_per_unit(type) > 1) {
    std::memcpy(group + group_scales_at(type) + c, from.factors, 1);
    std::memcpy(group + group_scales_at(type) + kPanel + c, from.factors + 1, 1);
  }
}

// Column c of a panel; row = file bytes of that output row, or null for a missing column.
template <WeightType type>
bool pack_quantised_column(const std::byte* row, uint32_t k, uint32_t c, std::byte* unit) {
  static constexpr std::byte kNone[4] = {};
  FileGroup group = {};
  std::memset(group.codes, code_offset(type), sizeof group.codes);
  bool finite = true;
  for (uint32_t u = 0; u < k / block_elements(type); ++u, unit += panel_unit_bytes(type)) {
    const std::byte* block = row ? row + size_t{u} * file_block_bytes(type) : nullptr;
    const std::byte* scales = block ? block + file_scale_at(type) : kNone;
    for (uint32_t g = 0; g < groups_per_unit(type); ++g) {
      if (block) {
        read_group(type, block, g, &group);
      }
      store_group(type, group, c, unit + g * group_bytes(type));
    }
    finite = finite && finite_f16(scales) && (!has_minimum(type) || finite_f16(scales + 2));
    std::memcpy(unit + unit_scales_at(type) + 2 * c, scales, 2);
    if (has_minimum(type)) {
      std::memcpy(unit + unit_scales_at(type) + kScalesBytes + 2 * c, scales + 2, 2);
    }
  }
  return finite;
}

bool pack_float_column(WeightType type, const std::byte* row, uint32_t k, uint32_t c,
                       std::byte* unit) {
  const uint32_t bytes = file_block_bytes(type);
  bool finite = true;
  for (uint32_t i = 0; i < k; ++i, unit += panel_unit_bytes(type)) {
    if (row) {
      finite = finite && finite_value(type, row + size_t{i} * bytes);
      std::memcpy(unit + c * bytes, row + size_t{i} * bytes, bytes);
    } else {
      std::memset(unit + c * bytes, 0, bytes);
    }
  }
  return finite;
}

bool pack_column(WeightType type, const std::byte* row, uint32_t k, uint32_t c, std::byte* unit) {
  switch (type) {
    case WeightType::kQ4_0: return pack_quantised_column<WeightType::kQ4_0>(row, k, c, unit);
    case WeightType::kQ4_1: return pack_quantised_column<WeightType::kQ4_1>(row, k, c, unit);
    case WeightType::kQ5_0: return pack_quantised_column<WeightType::kQ5_0>(row, k, c, unit);
    case WeightType::kQ5_1: return pack_quantised_column<WeightType::kQ5_1>(row, k, c, unit);
    case WeightType::kQ8_0: return pack_quantised_column<WeightType::kQ8_0>(row, k, c, unit);
    case WeightType::kQ4_K: return pack_quantised_column<WeightType::kQ4_K>(row, k, c, unit);
    case WeightType::kQ5_K: return pack_quantised_column<WeightType::kQ5_K>(row, k, c, unit);
    case WeightType::kQ6_K: return pack_quantised_column<WeightType::kQ6_K>(row, k, c, unit);
    case WeightType::kQ2_K: return pack_quantised_column<WeightType::kQ2_K>(row, k, c, unit);
    case WeightType::kQ3_K: return pack_quantised_column<WeightType::kQ3_K>(row, k, c, unit);
    case WeightType::kIQ4_NL: return pack_quantised_column<WeightType::kIQ4_NL>(row, k, c, unit);
    case WeightType::kF32:
    case WeightType::kF16:
    case WeightType::kBF16: break;
  }
  return pack_float_column(type, row, k, c, unit);
}

}  // namespace

size_t file_row_bytes(WeightType type, uint32_t k) {
  const uint32_t block = block_elements(type);
  return k % block == 0 ? size_t{k / block} * file_block_bytes(type) : 0;
}

size_t packed_bytes(WeightType type, uint32_t n, uint32_t k) {
  const size_t bytes = size_t{round_up(n, kPanel) / kPanel} * panel_bytes(type, k);
  return (bytes + 63) / 64 * 64;
}

bool pack_panels(WeightType type, const std::byte* file_rows, uint32_t n, uint32_t k,
                 uint32_t panel_begin, uint32_t panel_end, std::byte* out) {
  bool finite = true;
  for (uint32_t panel = panel_begin; panel < panel_end; ++panel) {
    std::byte* to = out + panel * panel_bytes(type, k);
    for (uint32_t c = 0; c < kPanel; ++c) {
      const uint32_t col = panel * kPanel + c;
      const std::byte* row = col < n ? file_rows + size_t{col} * file_row_bytes(type, k) : nullptr;
      const bool ok = pack_column(type, row, k, c, to);
      finite = finite && ok;
    }
  }
  return finite;
}

float file_weight(WeightType type, const std::byte* file_rows, uint32_t k, uint32_t row,
                  uint32_t col) {
  const std::byte* at = file_rows + size_t{row} * file_row_bytes(type, k);
  if (!is_quantised(type)) {
    return packed_float(type, at + size_t{col} * file_block_bytes(type), 0);
  }
  at += size_t{col / block_elements(type)} * file_block_bytes(type);
  FileGroup group;
  read_group(type, at, col % block_elements(type) / kGroup, &group);
  const uint32_t word = group.codes[col % kGroup / 4];
  const int32_t code = code_value(type, word >> 8 * (col % 4) & 255);
  const float d = f16_to_float(load_u16(at + file_scale_at(type)));
  const float m = has_minimum(type) ? f16_to_float(load_u16(at + file_scale_at(type) + 2)) : 0.0f;
  switch (type) {
    case WeightType::kQ4_K:
    case WeightType::kQ5_K:
      return fma32(static_cast<float>(code), d * static_cast<float>(group.factors[0]),
                   -(m * static_cast<float>(group.factors[1])));
    case WeightType::kQ6_K:
    case WeightType::kQ3_K:
      return static_cast<float>(code * static_cast<int8_t>(group.factors[col % kGroup / 16])) * d;
    case WeightType::kQ2_K: {
      const uint8_t factors = group.factors[col % kGroup / 16];
      return static_cast<float>(code * (factors & 15)) * d - static_cast<float>(factors >> 4) * m;
    }
    default:
      return has_minimum(type) ? fma32(static_cast<float>(code), d, m)
                               : static_cast<float>(code) * d;
  }
}

}  // namespace stet::kernels
