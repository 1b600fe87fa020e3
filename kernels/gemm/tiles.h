// The tile registers of AMX by number. g++'s intrinsics take literal numbers only, which no
// template can give, and say of ldtilecfg that it reads eight bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/numerics/inline.h"

namespace stet::kernels {
namespace {

// What palette 1 expects (Intel SDM vol. 1, ch. 18).
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes_per_row[16] = {};
  uint8_t rows[16] = {};
};

STET_INLINE void configure_tiles(const TileConfig& config) {
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
}

STET_INLINE void release_tiles() {
  __asm__ volatile("tilerelease");
}

// Does not tell the compiler that it reads memory: what was written for it by ordinary stores needs
// publish_for_tiles() between.
template <int kTile>
STET_INLINE void tile_load(const void* from, size_t row_bytes) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(row_bytes), "i"(kTile));
}

template <int kTile>
STET_INLINE void tile_store(void* to, size_t row_bytes) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(row_bytes), "i"(kTile)
                   : "memory");
}

template <int kTile>
STET_INLINE void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
}

// kSums += kA (rows of signed bytes) x kB (four k of a column side by side).
template <int kSums, int kA, int kB>
STET_INLINE void tile_dot() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kA), "i"(kB));
}

STET_INLINE void publish_for_tiles() {
  __asm__ volatile("" ::: "memory");
}

}  // namespace
}  // namespace stet::kernels
