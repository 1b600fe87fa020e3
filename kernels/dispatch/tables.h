// The tables of this build; each is defined in the one file compiled for its instruction set.
#pragma once

#include "stet/kernels/kernel_table.h"

namespace stet::kernels {

extern const KernelTable kScalarTable;      // x86-64-v2
extern const KernelTable kAvx512AmxTable;   // kAvx512FmaTable with AMX linears
extern const KernelTable kAvx512Bf16Table;  // AVX-512 F, BW, VL, DQ, VNNI, BF16
extern const KernelTable kAvx512FmaTable;   // the same without BF16: attention in fma
extern const KernelTable kAvx2Table;        // AVX2, FMA, F16C

// `b` if its attention takes less time here, else `a`.
const KernelTable& faster_attention(const KernelTable& a, const KernelTable& b);

}  // namespace stet::kernels
