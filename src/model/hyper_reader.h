// Reads "<architecture>.<key>" with a range each. A message names the key, its offset, what was
// found and expected.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "stet/base/status.h"
#include "stet/formats/tensor_index.h"

namespace stet::model {

struct CountRange {
  uint32_t least = 0;
  uint32_t most = 0;
};
struct RealRange {
  double least = 0.0;
  double most = 0.0;
};

inline constexpr uint32_t kMaxContext = 1u << 20;
inline constexpr RealRange kRopeBaseRange = {1.0, 1e12};

// Immutable; the index must outlive it.
class HyperReader {
 public:
  HyperReader(const formats::TensorIndex& index, std::string_view architecture)
      : index_(index), prefix_(std::string(architecture) + ".") {}

  bool has(std::string_view key) const { return index_.has(prefix_ + std::string(key)); }
  // Without a fallback a missing key is an error.
  Result<uint32_t> count(std::string_view key, CountRange range,
                         std::optional<uint32_t> fallback = {}) const;
  Result<double> real(std::string_view key, RealRange range,
                      std::optional<double> fallback = {}) const;
  // "metadata 'llama.<key>' at offset n: found <found>, expected <expected>".
  Status refuse(std::string_view key, std::string_view found, std::string_view expected) const;
  const formats::TensorIndex& index() const { return index_; }
  const std::string& prefix() const { return prefix_; }

 private:
  const formats::TensorIndex& index_;
  std::string prefix_;
};

}  // namespace stet::model
