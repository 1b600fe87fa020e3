// One anonymous mapping on huge pages where the system gives them, zero-filled at first touch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "stet/base/status.h"

namespace stet::executor {

inline constexpr size_t kHugePageBytes = size_t{2} << 20;

// Owns its mapping; take() hands out 64-byte aligned pieces once, front to back. External
// synchronisation.
class Arena {
 public:
  static Result<Arena> map(uint64_t num_bytes, const char* purpose);
  Arena() = default;
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  ~Arena();

  std::byte* data() const { return data_; }
  uint64_t num_bytes() const { return num_bytes_; }

  template <class T>
  T* take(uint64_t count) {
    return reinterpret_cast<T*>(take_bytes(count * sizeof(T)));
  }
  // What take() uses for so many bytes: the sum over all pieces is the size to map.
  static constexpr uint64_t padded(uint64_t num_bytes) { return (num_bytes + 63) / 64 * 64; }

 private:
  std::byte* take_bytes(uint64_t num_bytes);

  void* mapping_ = nullptr;
  uint64_t mapped_bytes_ = 0;
  std::byte* data_ = nullptr;
  uint64_t num_bytes_ = 0;
  uint64_t taken_ = 0;
};

}  // namespace stet::executor
