#include "kernels/dispatch/cpu_features.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace stet::kernels {
namespace {

struct Leaf {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(unsigned leaf, unsigned sub) {
  Leaf r;
  return __get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d) ? r : Leaf{};
}

constexpr bool bit(unsigned word, int i) {
  return (word >> i & 1u) != 0;
}

// XCR0: which registers the operating system saves. Only to be read where CPUID says OSXSAVE.
uint64_t read_xcr0() {
  uint32_t lo = 0;
  uint32_t hi = 0;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return uint64_t{hi} << 32 | lo;
}

// Linux gives the 8 KiB of tile registers only to processes that ask (Documentation/arch/x86/
// xstate.rst): once, for all threads.
bool ask_for_tiles() {
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}

constexpr uint64_t kYmmState = 0x6;       // XMM, YMM
constexpr uint64_t kZmmState = 0xE6;      // and opmask, ZMM 0-15 upper halves, ZMM 16-31
constexpr uint64_t kTileState = 0x60000;  // tile configuration and data

}  // namespace

CpuFeatures detect_cpu() {
  CpuFeatures f;
  const Leaf one = cpuid(1, 0);
  const Leaf seven = cpuid(7, 0);
  const Leaf seven_one = seven.a >= 1 ? cpuid(7, 1) : Leaf{};
  const uint64_t saved = bit(one.c, 27) ? read_xcr0() : 0;
  if ((saved & kYmmState) == kYmmState) {
    f.avx2_fma = bit(one.c, 28) && bit(one.c, 12) && bit(one.c, 29) && bit(seven.b, 5);
  }
  if (f.avx2_fma && (saved & kZmmState) == kZmmState) {
    f.avx512_core = bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31);
    f.avx512_vnni = f.avx512_core && bit(seven.c, 11);
    f.avx512_bf16 = f.avx512_core && bit(seven_one.a, 5);
  }
  if (f.avx512_vnni && (saved & kTileState) == kTileState) {
    f.amx_int8 = bit(seven.d, 24) && bit(seven.d, 25) && ask_for_tiles();
  }
  return f;
}

}  // namespace stet::kernels
