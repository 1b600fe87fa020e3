// Kernel tables whose group attention has one planted mistake each, of a kind that only a grouped
// kernel can make; everything else is best_table(). Test binaries only.
#pragma once

#include <span>

#include "tests/support/wrong_kernels.h"

namespace stet::kernels {

// Made once. Thread-safe, as their functions are.
std::span<const WrongKernels> wrong_group_tables();

}  // namespace stet::kernels
