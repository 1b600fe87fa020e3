#include "benchmarks/kernels/limits.h"

#include <emmintrin.h>

#include <time.h>

#include <algorithm>
#include <cstring>

namespace stet::bench {
namespace {

// Written in assembly so that no compiler choice is measured. The last operand is the destination.
#define STET_PEAK_LOOP(name, instruction)                                                    \
  double name() {                                                                            \
    const double start = now();                                                              \
    int64_t done = 0;                                                                        \
    while (now() - start < 0.02) {                                                           \
      int64_t i = 20000;                                                                     \
      asm volatile("1:\n" instruction "0\n" instruction "1\n" instruction "2\n" instruction  \
                   "3\n" instruction "4\n" instruction "5\n" instruction "6\n" instruction   \
                   "7\n" instruction "8\n" instruction "9\n" instruction "10\n" instruction  \
                   "11\n dec %0\n jnz 1b\n vzeroupper"                                       \
                   : "+r"(i)                                                                 \
                   :                                                                         \
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                     "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");          \
      done += 20000 * 12;                                                                    \
    }                                                                                        \
    return static_cast<double>(done) / (now() - start);                                      \
  }

STET_PEAK_LOOP(vpdpbusd_512, "vpdpbusd %%zmm30,%%zmm31,%%zmm")
STET_PEAK_LOOP(vdpbf16ps_512, "vdpbf16ps %%zmm30,%%zmm31,%%zmm")
STET_PEAK_LOOP(fma_512, "vfmadd231ps %%zmm30,%%zmm31,%%zmm")
STET_PEAK_LOOP(vpmaddubsw_256, "vpmaddubsw %%ymm14,%%ymm15,%%ymm")
STET_PEAK_LOOP(fma_256, "vfmadd231ps %%ymm14,%%ymm15,%%ymm")

bool is(const kernels::KernelTable& table, const char* name) {
  return std::strcmp(table.name, name) == 0;
}

uint64_t read_once(const std::byte* p, size_t n) {
  const __m128i* v = reinterpret_cast<const __m128i*>(p);
  __m128i sum[8] = {};
  for (size_t i = 0; i + 8 <= n / 16; i += 8) {
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; ++j) {
      sum[j] = _mm_add_epi64(sum[j], _mm_loadu_si128(v + i + j));
    }
  }
  for (size_t j = 1; j < 8; ++j) {
    sum[0] = _mm_add_epi64(sum[0], sum[j]);
  }
  return static_cast<uint64_t>(_mm_cvtsi128_si64(sum[0]));
}

}  // namespace

double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double byte_peak(const kernels::KernelTable& table) {
  return is(table, "avx2") ? vpmaddubsw_256() * 32 : vpdpbusd_512() * 64;
}

double float_peak(const kernels::KernelTable& table) {
  return is(table, "avx2")         ? fma_256() * 8
         : is(table, "avx512vnni") ? vdpbf16ps_512() * 32
                                   : fma_512() * 16;
}

double read_rate(const void* p, size_t n) {
  double best = 0;
  const double start = now();
  do {
    const double t = now();
    volatile uint64_t sink = read_once(static_cast<const std::byte*>(p), n);
    static_cast<void>(sink);
    best = std::max(best, static_cast<double>(n) / (now() - t));
  } while (now() - start < 0.03);
  return best;
}

}  // namespace stet::bench
