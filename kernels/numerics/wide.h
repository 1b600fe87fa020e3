// 128-bit products for C7, where every sum of masses is an exact integer.
#pragma once

#include <cstdint>

namespace stet::kernels {

__extension__ typedef unsigned __int128 uint128;

static inline uint64_t mul_shift(uint64_t a, uint64_t b, unsigned shift) {
  return static_cast<uint64_t>((uint128{a} * b) >> shift);
}

}  // namespace stet::kernels
