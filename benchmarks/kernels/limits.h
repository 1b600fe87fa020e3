// What this machine can do at most, measured beside every benchmark: a speed without its limit says
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stet::bench {

// 512-bit instructions per second of this core, 16 independent chains; 0 without AVX-512 VNNI /
// BF16.
double vpdpbusd_peak();
double vdpbf16ps_peak();
// Bytes per second of merely reading [p, p + n), best of the repetitions that fit into 30 ms.
double read_rate(const void* p, size_t n);

// Seconds of CPU time of this thread: on a shared machine the wall clock measures the neighbours.
double now();

}  // namespace stet::bench
