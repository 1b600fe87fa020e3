#include "tests/support/quantise.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "stet/base/check.h"

namespace stet::testing {
namespace {

constexpr size_t kBlock = 32;

float f16_to_float(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int mantissa = half & 1023;
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(mantissa), -24)
                              : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return half >> 15 ? -magnitude : magnitude;
}

void append_u16(std::vector<std::byte>* out, uint16_t value) {
  out->push_back(static_cast<std::byte>(value & 255));
  out->push_back(static_cast<std::byte>(value >> 8));
}

// Codes 0..15 of one block: element i in the low nibble of byte i, element i + 16 in the high one.
void append_nibbles(std::vector<std::byte>* out, std::span<const int> codes) {
  for (size_t i = 0; i < kBlock / 2; ++i) {
    out->push_back(static_cast<std::byte>(codes[i] | codes[i + kBlock / 2] << 4));
  }
}

int code_of(float value, float scale, float offset, int least, int most) {
  return scale == 0.0f
             ? std::clamp(0, least, most)
             : std::clamp(static_cast<int>(std::lrint((value - offset) / scale)), least, most);
}

// The element of largest magnitude.
float extreme_of(std::span<const float> values) {
  float extreme = 0.0f;
  for (float value : values) {
    extreme = std::fabs(value) > std::fabs(extreme) ? value : extreme;
  }
  return extreme;
}

// value = (code - 8) * d, the element of largest magnitude gets code 0 or its mirror 16 clamped
// to 15.
void append_q4_0(std::vector<std::byte>* out, std::span<const float> block) {
  const uint16_t d = float_to_f16(extreme_of(block) / -8.0f);
  int codes[kBlock];
  for (size_t i = 0; i < kBlock; ++i) {
    codes[i] = code_of(block[i], f16_to_float(d), 0.0f, -8, 7) + 8;
  }
  append_u16(out, d);
  append_nibbles(out, codes);
}

// value = code * d + m.
void append_q4_1(std::vector<std::byte>* out, std::span<const float> block) {
  const auto [least, most] = std::minmax_element(block.begin(), block.end());
  const uint16_t d = float_to_f16((*most - *least) / 15.0f);
  const uint16_t m = float_to_f16(*least);
  int codes[kBlock];
  for (size_t i = 0; i < kBlock; ++i) {
    codes[i] = code_of(block[i], f16_to_float(d), f16_to_float(m), 0, 15);
  }
  append_u16(out, d);
  append_u16(out, m);
  append_nibbles(out, codes);
}

// value = code * d.
void append_q8_0(std::vector<std::byte>* out, std::span<const float> block) {
  float extreme = 0.0f;
  for (float value : block) {
    extreme = std::max(extreme, std::fabs(value));
  }
  const uint16_t d = float_to_f16(extreme / 127.0f);
  append_u16(out, d);
  for (float value : block) {
    out->push_back(static_cast<std::byte>(code_of(value, f16_to_float(d), 0.0f, -127, 127) & 255));
  }
}

// Codes 0..31: the fifth bits as 32 bits, then the nibbles.
void append_fifths_and_nibbles(std::vector<std::byte>* out, std::span<int> codes) {
  uint32_t fifths = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    fifths |= static_cast<uint32_t>(codes[i] >> 4) << i;
    codes[i] &= 15;
  }
  append_u16(out, static_cast<uint16_t>(fifths));
  append_u16(out, static_cast<uint16_t>(fifths >> 16));
  append_nibbles(out, codes);
}

// value = (code - 16) * d, as Q4_0.
void append_q5_0(std::vector<std::byte>* out, std::span<const float> block) {
  const uint16_t d = float_to_f16(extreme_of(block) / -16.0f);
  int codes[kBlock];
  for (size_t i = 0; i < kBlock; ++i) {
    codes[i] = code_of(block[i], f16_to_float(d), 0.0f, -16, 15) + 16;
  }
  append_u16(out, d);
  append_fifths_and_nibbles(out, codes);
}

// value = code * d + m.
void append_q5_1(std::vector<std::byte>* out, std::span<const float> block) {
  const auto [least, most] = std::minmax_element(block.begin(), block.end());
  const uint16_t d = float_to_f16((*most - *least) / 31.0f);
  const uint16_t m = float_to_f16(*least);
  int codes[kBlock];
  for (size_t i = 0; i < kBlock; ++i) {
    codes[i] = code_of(block[i], f16_to_float(d), f16_to_float(m), 0, 31);
  }
  append_u16(out, d);
  append_u16(out, m);
  append_fifths_and_nibbles(out, codes);
}

constexpr size_t kSuperBlock = 256;
constexpr size_t kGroups = kSuperBlock / kBlock;

// Q4_K and Q5_K: value = d * sc * code - dmin * mn, sc and mn of 6 bits per group of 32.
struct KBlock {
  uint16_t d = 0, dmin = 0;
  int sc[kGroups] = {}, mn[kGroups] = {};
  int codes[kSuperBlock] = {};
};

KBlock k_block(std::span<const float> values, int most_code) {
  KBlock b;
  float scale[kGroups], least[kGroups];
  float max_scale = 0.0f, max_least = 0.0f;
  for (size_t g = 0; g < kGroups; ++g) {
    const auto group = values.subspan(g * kBlock, kBlock);
    const auto [lo, hi] = std::minmax_element(group.begin(), group.end());
    least[g] = std::max(0.0f, -*lo);
    scale[g] = std::max(0.0f, *hi + least[g]) / static_cast<float>(most_code);
    max_scale = std::max(max_scale, scale[g]);
    max_least = std::max(max_least, least[g]);
  }
  b.d = float_to_f16(max_scale / 63.0f);
  b.dmin = float_to_f16(max_least / 63.0f);
  for (size_t g = 0; g < kGroups; ++g) {
    b.sc[g] = code_of(scale[g], f16_to_float(b.d), 0.0f, 0, 63);
    b.mn[g] = code_of(least[g], f16_to_float(b.dmin), 0.0f, 0, 63);
    for (size_t i = g * kBlock; i < (g + 1) * kBlock; ++i) {
      b.codes[i] = code_of(values[i], f16_to_float(b.d) * static_cast<float>(b.sc[g]),
                           -f16_to_float(b.dmin) * static_cast<float>(b.mn[g]), 0, most_code);
    }
  }
  return b;
}

void append_k_head(std::vector<std::byte>* out, const KBlock& b) {
  append_u16(out, b.d);
  append_u16(out, b.dmin);
  for (size_t g = 0; g < 4; ++g) {
    out->push_back(static_cast<std::byte>(b.sc[g] | b.sc[g + 4] >> 4 << 6));
  }
  for (size_t g = 0; g < 4; ++g) {
    out->push_back(static_cast<std::byte>(b.mn[g] | b.mn[g + 4] >> 4 << 6));
  }
  for (size_t g = 4; g < kGroups; ++g) {
    out->push_back(static_cast<std::byte>((b.sc[g] & 15) | (b.mn[g] & 15) << 4));
  }
}

// Two groups in 32 bytes.
void append_k_nibbles(std::vector<std::byte>* out, const KBlock& b) {
  for (size_t g = 0; g < kGroups; g += 2) {
    for (size_t i = g * kBlock; i < (g + 1) * kBlock; ++i) {
      out->push_back(static_cast<std::byte>((b.codes[i] & 15) | (b.codes[i + kBlock] & 15) << 4));
    }
  }
}

void append_q4_k(std::vector<std::byte>* out, std::span<const float> values) {
  const KBlock b = k_block(values, 15);
  append_k_head(out, b);
  append_k_nibbles(out, b);
}

void append_q5_k(std::vector<std::byte>* out, std::span<const float> values) {
  const KBlock b = k_block(values, 31);
  append_k_head(out, b);
  for (size_t i = 0; i < kBlock; ++i) {
    int bits = 0;
    for (size_t g = 0; g < kGroups; ++g) {
      bits |= b.codes[g * kBlock + i] >> 4 << g;
    }
    out->push_back(static_cast<std::byte>(bits));
  }
  append_k_nibbles(out, b);
}

constexpr size_t kHalf = 16;
constexpr size_t kHalves = kSuperBlock / kHalf;

// value = d * sc * (code - 32), sc of 8 bits with a sign per 16 elements.
void append_q6_k(std::vector<std::byte>* out, std::span<const float> values) {
  float scale[kHalves];
  float max_scale = 0.0f;
  for (size_t h = 0; h < std::size(scale); ++h) {
    scale[h] = extreme_of(values.subspan(h * kHalf, kHalf)) / -32.0f;
    max_scale = std::max(max_scale, std::fabs(scale[h]));
  }
  const uint16_t d = float_to_f16(max_scale / 127.0f);
  int sc[std::size(scale)];
  int codes[kSuperBlock];
  for (size_t h = 0; h < std::size(scale); ++h) {
    sc[h] = code_of(scale[h], f16_to_float(d), 0.0f, -127, 127);
    for (size_t i = h * kHalf; i < (h + 1) * kHalf; ++i) {
      codes[i] =
          code_of(values[i], f16_to_float(d) * static_cast<float>(sc[h]), 0.0f, -32, 31) + 32;
    }
  }
  // Halves of 128: byte i of the low part has elements i and i + 64, byte i of the high part the
  // elements i, i + 32, i + 64, i + 96.
  for (size_t half = 0; half < kSuperBlock; half += 128) {
    for (size_t i = half; i < half + 64; ++i) {
      out->push_back(static_cast<std::byte>((codes[i] & 15) | (codes[i + 64] & 15) << 4));
    }
  }
  for (size_t half = 0; half < kSuperBlock; half += 128) {
    for (size_t i = half; i < half + 32; ++i) {
      out->push_back(static_cast<std::byte>(codes[i] >> 4 | codes[i + 32] >> 4 << 2 |
                                            codes[i + 64] >> 4 << 4 | codes[i + 96] >> 4 << 6));
    }
  }
  for (int factor : sc) {
    out->push_back(static_cast<std::byte>(factor & 255));
  }
  append_u16(out, d);
}

// Two bits of every code: byte i of a half of 128 has elements i, i + 32, i + 64, i + 96.
void append_pairs(std::vector<std::byte>* out, std::span<const int> codes) {
  for (size_t half = 0; half < kSuperBlock; half += 128) {
    for (size_t i = half; i < half + 32; ++i) {
      int byte = 0;
      for (size_t j = 0; j < 4; ++j) {
        byte |= (codes[i + 32 * j] & 3) << 2 * j;
      }
      out->push_back(static_cast<std::byte>(byte));
    }
  }
}

// value = d * sc * code - dmin * mn, sc and mn of 4 bits per 16 elements.
void append_q2_k(std::vector<std::byte>* out, std::span<const float> values) {
  float scale[kHalves], least[kHalves];
  float max_scale = 0.0f, max_least = 0.0f;
  for (size_t h = 0; h < kHalves; ++h) {
    const auto half = values.subspan(h * kHalf, kHalf);
    const auto [lo, hi] = std::minmax_element(half.begin(), half.end());
    least[h] = std::max(0.0f, -*lo);
    scale[h] = std::max(0.0f, *hi + least[h]) / 3.0f;
    max_scale = std::max(max_scale, scale[h]);
    max_least = std::max(max_least, least[h]);
  }
  const uint16_t d = float_to_f16(max_scale / 15.0f);
  const uint16_t dmin = float_to_f16(max_least / 15.0f);
  int codes[kSuperBlock];
  for (size_t h = 0; h < kHalves; ++h) {
    const int sc = code_of(scale[h], f16_to_float(d), 0.0f, 0, 15);
    const int mn = code_of(least[h], f16_to_float(dmin), 0.0f, 0, 15);
    for (size_t i = h * kHalf; i < (h + 1) * kHalf; ++i) {
      codes[i] = code_of(values[i], f16_to_float(d) * static_cast<float>(sc),
                         -f16_to_float(dmin) * static_cast<float>(mn), 0, 3);
    }
    out->push_back(static_cast<std::byte>(sc | mn << 4));
  }
  append_pairs(out, codes);
  append_u16(out, d);
  append_u16(out, dmin);
}

// value = d * (sc - 32) * (code - 4), sc of 6 bits per 16 elements.
void append_q3_k(std::vector<std::byte>* out, std::span<const float> values) {
  float scale[kHalves];
  float max_scale = 0.0f;
  for (size_t h = 0; h < kHalves; ++h) {
    scale[h] = extreme_of(values.subspan(h * kHalf, kHalf)) / -4.0f;
    max_scale = std::max(max_scale, std::fabs(scale[h]));
  }
  const uint16_t d = float_to_f16(max_scale / 31.0f);
  int sc[kHalves];
  int codes[kSuperBlock];
  for (size_t h = 0; h < kHalves; ++h) {
    sc[h] = code_of(scale[h], f16_to_float(d), 0.0f, -32, 31);
    for (size_t i = h * kHalf; i < (h + 1) * kHalf; ++i) {
      codes[i] = code_of(values[i], f16_to_float(d) * static_cast<float>(sc[h]), 0.0f, -4, 3) + 4;
    }
    sc[h] += 32;
  }
  for (size_t i = 0; i < kBlock; ++i) {
    int bits = 0;
    for (size_t g = 0; g < kGroups; ++g) {
      bits |= codes[g * kBlock + i] >> 2 << g;
    }
    out->push_back(static_cast<std::byte>(bits));
  }
  append_pairs(out, codes);
  for (size_t h = 0; h < 8; ++h) {
    out->push_back(static_cast<std::byte>((sc[h] & 15) | (sc[h + 8] & 15) << 4));
  }
  for (size_t h = 0; h < 4; ++h) {
    out->push_back(static_cast<std::byte>(sc[h] >> 4 | sc[h + 4] >> 4 << 2 | sc[h + 8] >> 4 << 4 |
                                          sc[h + 12] >> 4 << 6));
  }
  append_u16(out, d);
}

// value = table[code] * d, the nearest place of the table.
void append_iq4_nl(std::vector<std::byte>* out, std::span<const float> block) {
  constexpr float kTable[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};
  const uint16_t d = float_to_f16(extreme_of(block) / -127.0f);
  int codes[kBlock];
  for (size_t i = 0; i < kBlock; ++i) {
    codes[i] = 8;
    for (int c = 0; c < 16; ++c) {
      if (std::fabs(block[i] - kTable[c] * f16_to_float(d)) <
          std::fabs(block[i] - kTable[codes[i]] * f16_to_float(d))) {
        codes[i] = c;
      }
    }
  }
  append_u16(out, d);
  append_nibbles(out, codes);
}

}  // namespace

uint16_t float_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const float magnitude = std::fabs(value);
  if (!(magnitude < 65520.0f)) {  // rounds to 65536 or more, or NaN
    return static_cast<uint16_t>(sign | (std::isnan(value) ? 0x7E00u : 0x7C00u));
  }
  // Adding a power of two whose last place is the half's last place rounds to nearest even.
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  exponent = magnitude == 0.0f
                 ? -13
                 : std::max(exponent, -13);  // below 2^-14: subnormal halves, last place 2^-24
  const float last_place = std::ldexp(1.0f, exponent - 11);
  const float rounded = std::nearbyint(magnitude / last_place);
  const auto units = static_cast<uint32_t>(rounded);  // 0..2048, of last_place
  // units 1024..2048 carry the hidden bit into the exponent by plain addition.
  const auto half = static_cast<uint32_t>((exponent + 13) << 10) + units;
  return static_cast<uint16_t>(sign | half);
}

uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

std::vector<std::byte> quantise(formats::TensorType type, std::span<const float> values) {
  using formats::TensorType;
  STET_CHECK(values.size() % formats::block_format(type).elements == 0, "rows are whole blocks");
  std::vector<std::byte> out;
  if (type == TensorType::kF32) {
    const auto bytes = std::as_bytes(values);
    return {bytes.begin(), bytes.end()};
  }
  if (type == TensorType::kF16 || type == TensorType::kBF16) {
    for (float value : values) {
      append_u16(&out, type == TensorType::kF16 ? float_to_f16(value) : float_to_bf16(value));
    }
    return out;
  }
  const size_t elements = formats::block_format(type).elements;
  for (size_t i = 0; i < values.size(); i += elements) {
    const auto block = values.subspan(i, elements);
    switch (type) {
      case TensorType::kQ4_0: append_q4_0(&out, block); break;
      case TensorType::kQ4_1: append_q4_1(&out, block); break;
      case TensorType::kQ5_0: append_q5_0(&out, block); break;
      case TensorType::kQ5_1: append_q5_1(&out, block); break;
      case TensorType::kQ4_K: append_q4_k(&out, block); break;
      case TensorType::kQ5_K: append_q5_k(&out, block); break;
      case TensorType::kQ6_K: append_q6_k(&out, block); break;
      case TensorType::kQ2_K: append_q2_k(&out, block); break;
      case TensorType::kQ3_K: append_q3_k(&out, block); break;
      case TensorType::kIQ4_NL: append_iq4_nl(&out, block); break;
      default: append_q8_0(&out, block); break;
    }
  }
  return out;
}

}  // namespace stet::testing
