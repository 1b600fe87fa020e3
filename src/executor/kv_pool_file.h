// The physical pool of virtual mode: a file without a name, all of it mapped once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "stet/base/status.h"

namespace stet::executor {

// Owns the descriptor and the mapping. Its pages are one set, however often they are mapped.
// External synchronisation.
class KvPoolFile {
 public:
  static Result<KvPoolFile> create(uint64_t num_bytes);
  KvPoolFile() = default;
  KvPoolFile(KvPoolFile&& other) noexcept;
  KvPoolFile& operator=(KvPoolFile&& other) noexcept;
  ~KvPoolFile();

  int fd() const { return fd_; }
  std::byte* data() const { return data_; }
  // Gives every page its memory. On a virtual machine a page that was never touched costs 2-10 us,
  // which a step should not pay (kv.md sec. 8).
  Status prefault(uint32_t num_threads);

 private:
  int fd_ = -1;
  std::byte* data_ = nullptr;
  uint64_t num_bytes_ = 0;
};

}  // namespace stet::executor
