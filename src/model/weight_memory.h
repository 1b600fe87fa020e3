// All weights of a model: one anonymous mapping, on huge pages where the system grants them,
// read-only once packed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "stet/base/status.h"

namespace stet::model {

// External synchronisation while it is written; immutable after seal().
class WeightMemory {
 public:
  // RESOURCE_EXHAUSTED with the number of bytes.
  static Result<std::shared_ptr<WeightMemory>> create(uint64_t num_bytes);
  ~WeightMemory();
  WeightMemory(const WeightMemory&) = delete;
  WeightMemory& operator=(const WeightMemory&) = delete;

  std::byte* data() const { return begin_; }
  // From here on a stray write faults instead of changing answers.
  Status seal();

 private:
  WeightMemory(std::byte* mapping, size_t mapping_bytes, std::byte* begin)
      : mapping_(mapping), mapping_bytes_(mapping_bytes), begin_(begin) {}
  std::byte* mapping_;
  size_t mapping_bytes_;
  std::byte* begin_;
};

}  // namespace stet::model
