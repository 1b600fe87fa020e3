// What the processor has and the operating system saves.
#pragma once

namespace stet::kernels {

struct CpuFeatures {
  bool avx2_fma = false;     // AVX2, FMA, F16C
  bool avx512_core = false;  // F, BW, VL, DQ
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool amx_int8 = false;  // and this process may use the tile registers
};

CpuFeatures detect_cpu();

}  // namespace stet::kernels
