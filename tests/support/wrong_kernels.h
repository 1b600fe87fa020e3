// Kernel tables with one planted mistake each: the negative controls of the exactness suite
// (exactness.md, 'How it is shown', 2). Each is a good table with some functions replaced. They
// live in test binaries only.
#pragma once

#include <span>

#include "stet/kernels/kernel_table.h"

namespace stet::kernels {

struct WrongKernels {
  const char* name;
  KernelTable table;
};

// Made once from best_table(). Thread-safe; the functions inside are as thread-safe as the mistake
// allows.
std::span<const WrongKernels> wrong_kernel_tables();

}  // namespace stet::kernels
