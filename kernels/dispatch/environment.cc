// C4: the floating-point environment of every compute thread.
#include <xmmintrin.h>

#include "stet/kernels/kernel_table.h"

namespace stet::kernels {
namespace {
constexpr unsigned kMxcsr = 0x9FC0;      // nearest even, FTZ, DAZ, all exceptions masked
constexpr unsigned kStickyFlags = 0x3F;  // set by arithmetic, no part of the setting
}  // namespace

void set_float_environment() {
  _mm_setcsr(kMxcsr);
}
bool float_environment_ok() {
  return (_mm_getcsr() & ~kStickyFlags) == kMxcsr;
}

}  // namespace stet::kernels
