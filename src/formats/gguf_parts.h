// The parts of the GGUF parser: metadata, then tensor table. Limits are those of operations.md
// sec. 8.
#pragma once

#include <cstdint>
#include <span>

#include "src/formats/byte_reader.h"
#include "stet/formats/tensor_index.h"

namespace stet::formats {

inline constexpr uint64_t kMaxKeys = 65536;
inline constexpr uint64_t kMaxTensors = 65536;
inline constexpr uint32_t kMaxDims = 4;
// Decoded metadata may not grow beyond this: one byte of an array of u8 becomes eight in memory, an
// empty string of eight bytes becomes 32, so a file could otherwise ask for several times its size.
// A vocabulary of 262,144 entries with its merges takes about 40 MiB.
inline constexpr uint64_t kMaxMetadataBytes = uint64_t{128} << 20;

// Smallest possible entry in the file: bounds a count by the bytes that are left before anything is
// reserved.
inline constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;  // length, one letter, type, one byte
inline constexpr uint64_t kMinTensorBytes =
    8 + 1 + 4 + 8 + 4 + 8;  // length, one letter, n_dims, dim, type, offset

Status read_metadata(ByteReader* reader, uint64_t num_keys, TensorIndex* index);
// Reads the tensor table and finds every tensor's bytes in `file`.
Status read_tensors(ByteReader* reader, uint64_t num_tensors, std::span<const std::byte> file,
                    TensorIndex* index);

}  // namespace stet::formats
