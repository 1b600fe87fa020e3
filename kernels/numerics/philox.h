// Philox4x32-10 (Salmon et al., 'Parallel random numbers: as easy as 1, 2, 3', SC 2011).
#pragma once

#include <cstdint>

namespace stet::kernels {

struct PhiloxBlock {
  uint32_t w[4];
};

static inline PhiloxBlock philox4x32_10(uint32_t key0, uint32_t key1, PhiloxBlock c) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c.w[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c.w[2];
    c = {{static_cast<uint32_t>(p1 >> 32) ^ c.w[1] ^ key0, static_cast<uint32_t>(p1),
          static_cast<uint32_t>(p0 >> 32) ^ c.w[3] ^ key1, static_cast<uint32_t>(p0)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c;
}

// C7: the 64 random bits of one draw.
static inline uint64_t draw_bits(uint64_t seed, uint32_t output_pos, uint32_t choice) {
  const PhiloxBlock b = philox4x32_10(
      static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), {{output_pos, choice, 0, 0}});
  return uint64_t{b.w[0]} | uint64_t{b.w[1]} << 32;
}

}  // namespace stet::kernels
