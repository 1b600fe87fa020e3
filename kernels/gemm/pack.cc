// Packing and its inverse on file bytes (GGUF blocks):
//   Q4_0 18 B: f16 d, 16 B (low nibbles = elements 0..15, high = 16..31), value (code - 8) * d
//   Q4_1 20 B: f16 d, f16 m, 16 B, value code * d + m
//   Q8_0 34 B: f16 d, 32 x int8, value code * d
#include "stet/kernels/pack.h"

#include <cstring>

#include "kernels/gemm/layout.h"
#include "kernels/numerics/fma.h"

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
  }
  return 0;
}

constexpr uint32_t code_bytes_at(WeightType type) {
  return type == WeightType::kQ4_1 ? 4 : 2;
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

// The 32 codes of a file block, 0..255, k ascending.
void unpack_codes(WeightType type, const std::byte* block, uint8_t* codes) {
  const std::byte* src = block + code_bytes_at(type);
  if (type == WeightType::kQ8_0) {
    for (uint32_t k = 0; k < kGroup; ++k) {
      codes[k] = byte_at(src + k) ^ 0x80u;  // + 128 modulo 256
    }
    return;
  }
  for (uint32_t i = 0; i < kGroup / 2; ++i) {
    codes[i] = byte_at(src + i) & 15;
    codes[i + kGroup / 2] = byte_at(src + i) >> 4;
  }
}

void store_codes(WeightType type, const uint8_t* codes, uint32_t c, std::byte* unit) {
  if (type == WeightType::kQ8_0) {
    for (uint32_t z = 0; z < 8; ++z) {
      std::memcpy(unit + code_byte(z, c), codes + 4 * z, 4);
    }
    return;
  }
  for (uint32_t z = 0; z < 4; ++z) {
    uint8_t both[4];
    for (uint32_t i = 0; i < 4; ++i) {
      both[i] = static_cast<uint8_t>(codes[8 * z + i] | codes[8 * z + 4 + i] << 4);
    }
    std::memcpy(unit + code_byte(z, c), both, 4);
  }
}

// Column c of a panel; row = file bytes of that output row, or null for a missing column.
bool pack_quantised_column(WeightType type, const std::byte* row, uint32_t k, uint32_t c,
                           std::byte* unit) {
  const uint32_t scales_at = type == WeightType::kQ8_0 ? kCodes8Bytes : kCodes4Bytes;
  uint8_t codes[kGroup];
  std::memset(codes, code_offset(type), sizeof codes);
  const uint16_t zero = 0;
  bool finite = true;
  for (uint32_t g = 0; g < k / kGroup; ++g, unit += panel_unit_bytes(type)) {
    const std::byte* block = row ? row + size_t{g} * file_block_bytes(type) : nullptr;
    const void* d = block ? static_cast<const void*>(block) : &zero;
    if (block) {
      unpack_codes(type, block, codes);
      finite = finite && finite_f16(block);
    }
    store_codes(type, codes, c, unit);
    std::memcpy(unit + scales_at + 2 * c, d, 2);
    if (type == WeightType::kQ4_1) {
      finite = finite && (!block || finite_f16(block + 2));
      const void* m = block ? static_cast<const void*>(block + 2) : &zero;
      std::memcpy(unit + scales_at + kScalesBytes + 2 * c, m, 2);
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

}  // namespace

size_t file_row_bytes(WeightType type, uint32_t k) {
  if (!is_quantised(type)) {
    return size_t{k} * file_block_bytes(type);
  }
  return k % kGroup == 0 ? size_t{k / kGroup} * file_block_bytes(type) : 0;
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
      const bool ok = is_quantised(type) ? pack_quantised_column(type, row, k, c, to)
                                         : pack_float_column(type, row, k, c, to);
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
  at += size_t{col / kGroup} * file_block_bytes(type);
  uint8_t codes[kGroup];
  unpack_codes(type, at, codes);
  const float code = static_cast<float>(int32_t{codes[col % kGroup]} - code_offset(type));
  const float d = f16_to_float(load_u16(at));
  return type == WeightType::kQ4_1 ? fma32(code, d, f16_to_float(load_u16(at + 2))) : code * d;
}

}  // namespace stet::kernels
