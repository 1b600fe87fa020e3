#include "src/model/weight_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace stet::model {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

Result<std::shared_ptr<WeightMemory>> WeightMemory::create(uint64_t num_bytes) {
  // Address space for one huge page more, so that the first one can be aligned; it is never
  // touched.
  const size_t mapping_bytes = (num_bytes + kHugePage - 1) / kHugePage * kHugePage + kHugePage;
  void* mapping =
      ::mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    return resource_exhausted("no memory for " + std::to_string(num_bytes) +
                              " bytes of weights: " + std::strerror(errno));
  }
  auto* bytes = static_cast<std::byte*>(mapping);
  const size_t misalignment = reinterpret_cast<uintptr_t>(mapping) % kHugePage;
  std::byte* begin = bytes + (misalignment == 0 ? 0 : kHugePage - misalignment);
  if (num_bytes >= kHugePage) {
    ::madvise(begin, mapping_bytes - static_cast<size_t>(begin - bytes),
              MADV_HUGEPAGE);  // a wish; refusal is fine
  }
  return std::shared_ptr<WeightMemory>(new WeightMemory(bytes, mapping_bytes, begin));
}

WeightMemory::~WeightMemory() {
  ::munmap(mapping_, mapping_bytes_);
}

Status WeightMemory::seal() {
  if (::mprotect(mapping_, mapping_bytes_, PROT_READ) != 0) {
    return internal_error(std::string("cannot make the weights read-only: ") +
                          std::strerror(errno));
  }
  return {};
}

}  // namespace stet::model
