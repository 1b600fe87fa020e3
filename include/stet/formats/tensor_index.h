// A mapped model file as data: metadata and a tensor index. No model knowledge here. Every count,
// length, offset and product is checked against the bytes that are left (operations.md sec. 8);
// errors give field, offset, found, expected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "stet/base/status.h"

namespace stet::formats {

enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kBF16 = 30
};                                                   // GGUF's numbers
std::string_view tensor_type_name(TensorType type);  // "Q4_1"

// A row is stored as blocks of `elements` weights in `bytes` bytes; float types have one element
// per block.
struct BlockFormat {
  uint32_t elements = 1;
  uint32_t bytes = 4;
};
BlockFormat block_format(TensorType type);

struct TensorInfo {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<uint64_t> dims;        // 1..4, each >= 1; dims[0] is the fastest (row length)
  std::span<const std::byte> bytes;  // inside the mapping
  uint64_t file_offset = 0;          // of the first byte, for messages
};

// A metadata value. Arrays have nesting depth 1.
using MetaScalar = std::variant<uint64_t, int64_t, double, bool, std::string>;
struct MetaValue {
  std::variant<MetaScalar, std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>,
               std::vector<bool>, std::vector<std::string>>
      value;
  uint64_t file_offset = 0;
};

// A parsed file; keeps the bytes alive. Immutable after parsing; thread-safe.
class TensorIndex {
 public:
  uint32_t version = 0;
  std::map<std::string, MetaValue, std::less<>> metadata;
  std::vector<TensorInfo> tensors;  // file order, unique names
  std::vector<uint32_t> by_name;    // indices into tensors, sorted by name
  std::string stem;                 // of the path; empty when parsed from memory
  const TensorInfo* find(std::string_view name) const;  // null if absent; binary search

  // Typed look-ups. Missing key or other type: a Status that names the key, its offset and both
  // types.
  Result<uint64_t> get_uint(std::string_view key) const;
  Result<double> get_float(std::string_view key) const;  // accepts integers
  Result<bool> get_bool(std::string_view key) const;
  Result<std::string> get_string(std::string_view key) const;
  Result<std::span<const std::string>> get_strings(std::string_view key) const;
  Result<std::vector<int64_t>> get_ints(std::string_view key) const;  // arrays of any integer type
  bool has(std::string_view key) const { return metadata.find(key) != metadata.end(); }

  std::shared_ptr<const void> owner;  // of the bytes
};

// Parses a GGUF file (v2, v3) held in memory; `bytes` must outlive the index (owner is left empty).
Result<TensorIndex> parse_gguf(std::span<const std::byte> bytes);
// Maps `path` read-only and parses it. Errors: NOT_FOUND (missing or unreadable), DATA_LOSS
// (invalid). The file must not shrink while the index lives (a read behind its end is SIGBUS):
// load_model copies what it keeps, then drop the index.
Result<TensorIndex> open_gguf(const std::string& path);

// Text of a file made fit for a one-line message: other than printable ASCII is escaped, long text
// is cut.
std::string printable(std::string_view text, size_t max_chars = 80);

}  // namespace stet::formats
