// Writes GGUF files field by field and remembers where each field lies, so that tests can break
// them one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stet/formats/tensor_index.h"

namespace stet::testing {

// One integer of the header: "type of llama.block_count", at `offset`, `num_bytes` wide.
struct GgufField {
  std::string name;
  size_t offset = 0;
  size_t num_bytes = 0;
};

// Overwrites a field with the low bytes of `value`.
void poke(std::vector<std::byte>* file, const GgufField& field, uint64_t value);

// A finished file. `header_bytes` ends the tensor table; data_edges are the ends of the tensors'
// bytes.
struct GgufFile {
  std::vector<std::byte> bytes;
  std::vector<GgufField> fields;
  size_t header_bytes = 0;
  std::vector<size_t> data_edges;
  const GgufField& field(std::string_view name) const;  // aborts if there is none
};

// Collects metadata and tensors in order; build() lays them out. External synchronisation.
class GgufWriter {
 public:
  explicit GgufWriter(uint32_t version = 3, uint32_t alignment = 32)
      : version_(version), alignment_(alignment) {}

  void add_u32(std::string_view key, uint32_t value);
  void add_u64(std::string_view key, uint64_t value);
  void add_i32(std::string_view key, int32_t value);
  void add_f32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_i32s(std::string_view key, std::span<const int32_t> values);
  void add_f32s(std::string_view key, std::span<const float> values);
  void add_u8s(std::string_view key, std::span<const uint8_t> values);
  // Any value by its type number and bytes, right or wrong.
  void add_raw(std::string_view key, uint32_t type, std::span<const std::byte> value);
  void add_tensor(std::string_view name, std::vector<uint64_t> dims, formats::TensorType type,
                  std::vector<std::byte> bytes);

  GgufFile build() const;

 private:
  struct Key {
    std::string name;
    uint32_t type;
    std::vector<std::byte> value;
    std::vector<GgufField> fields;  // offsets from the start of value
  };
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
    uint32_t type;
    std::vector<std::byte> bytes;
  };
  Key& add_key(std::string_view key, uint32_t type);

  uint32_t version_;
  uint32_t alignment_;
  std::vector<Key> keys_;
  std::vector<Tensor> tensors_;
};

}  // namespace stet::testing
