// What this machine can do at most, measured beside every benchmark: a speed without its limit says
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "stet/kernels/kernel_table.h"

namespace stet::bench {

// Multiply-adds per second of this core with the instruction a table is built on, 12 or more
// independent chains: bytes (vpdpbusd 512, vpmaddubsw 256), and bf16 or float (vdpbf16ps 512, fma
// 512, fma 256).
double byte_peak(const kernels::KernelTable& table);
double float_peak(const kernels::KernelTable& table);
// Bytes per second of merely reading [p, p + n), best of the repetitions that fit into 30 ms.
double read_rate(const void* p, size_t n);

// Seconds of CPU time of this thread: on a shared machine the wall clock measures the neighbours.
double now();

}  // namespace stet::bench
