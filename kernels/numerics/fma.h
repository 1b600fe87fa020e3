// The fused multiply-add of the contract, correctly rounded. With -mfma this is one instruction; in
// the baseline build the library's fmaf, which uses the instruction where the host has it and exact
// double arithmetic where not.
#pragma once

namespace stet::kernels {

static inline float fma32(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}

}  // namespace stet::kernels
