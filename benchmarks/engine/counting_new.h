// Linking counting_new.cc makes operator new count.
#pragma once

#include <cstdint>

namespace stet {

uint64_t num_allocations();  // of the whole process, so far

}  // namespace stet
