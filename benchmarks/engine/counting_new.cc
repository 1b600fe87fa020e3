// A file of its own: where the compiler sees these bodies it takes malloc and free for a mismatch.
#include "benchmarks/engine/counting_new.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<uint64_t> num_calls{0};
}

void* operator new(size_t size) {
  num_calls.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(size)) {
    return p;
  }
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, size_t) noexcept {
  std::free(p);
}

namespace stet {

uint64_t num_allocations() {
  return num_calls.load(std::memory_order_relaxed);
}

}  // namespace stet
