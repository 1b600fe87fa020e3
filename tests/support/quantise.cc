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

// value = (code - 8) * d, the element of largest magnitude gets code 0 or its mirror 16 clamped
// to 15.
void append_q4_0(std::vector<std::byte>* out, std::span<const float> block) {
  float extreme = 0.0f;
  for (float value : block) {
    extreme = std::fabs(value) > std::fabs(extreme) ? value : extreme;
  }
  const uint16_t d = float_to_f16(extreme / -8.0f);
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
  for (size_t i = 0; i < values.size(); i += kBlock) {
    const auto block = values.subspan(i, kBlock);
    if (type == TensorType::kQ4_0) {
      append_q4_0(&out, block);
    } else if (type == TensorType::kQ4_1) {
      append_q4_1(&out, block);
    } else {
      append_q8_0(&out, block);
    }
  }
  return out;
}

}  // namespace stet::testing
