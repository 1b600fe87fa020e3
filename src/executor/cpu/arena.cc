#include "src/executor/cpu/arena.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "stet/base/check.h"

namespace stet::executor {

Result<Arena> Arena::map(uint64_t num_bytes, const char* purpose) {
  Arena arena;
  // One page more, so that the first byte can lie on a huge page's border.
  arena.mapped_bytes_ = num_bytes + kHugePageBytes;
  void* mapping = mmap(nullptr, arena.mapped_bytes_, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return resource_exhausted("no address space of " + std::to_string(num_bytes) + " bytes for " +
                              purpose + ": " + std::strerror(errno));
  }
  arena.mapping_ = mapping;
  const auto address = reinterpret_cast<uintptr_t>(mapping);
  const uintptr_t aligned = (address + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  arena.data_ = static_cast<std::byte*>(mapping) + (aligned - address);
  arena.num_bytes_ = num_bytes;
  // A wish: without huge pages everything works, random reads are slower (kv.md sec. 8).
  (void)madvise(arena.data_, num_bytes, MADV_HUGEPAGE);
  return arena;
}

Arena::Arena(Arena&& other) noexcept {
  *this = std::move(other);
}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  std::swap(data_, other.data_);
  std::swap(num_bytes_, other.num_bytes_);
  std::swap(taken_, other.taken_);
  return *this;
}

Arena::~Arena() {
  if (mapping_ != nullptr) {
    munmap(mapping_, mapped_bytes_);
  }
}

std::byte* Arena::take_bytes(uint64_t num_bytes) {
  std::byte* piece = data_ + taken_;
  taken_ += padded(num_bytes);
  STET_CHECK(taken_ <= num_bytes_, "the arena was sized for all its pieces");
  return piece;
}

}  // namespace stet::executor
