// GGUF, versions 2 and 3 (same layout, little-endian):
//   "GGUF" | version u32 | num_tensors u64 | num_keys u64 | metadata | tensor table | padding |
//   data section
// Source: the format description in the ggml repository, docs/gguf.md.
#include <bit>

#include "src/formats/gguf_parts.h"
#include "stet/formats/tensor_index.h"

namespace stet::formats {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"

Result<uint32_t> read_version(ByteReader* reader) {
  STET_ASSIGN_OR_RETURN(const uint32_t magic, reader->read<uint32_t>({"magic"}));
  if (magic != kMagic) {
    const std::string_view text(reinterpret_cast<const char*>(&magic), sizeof(magic));
    return bad_field({"magic"}, 0, "'" + printable(text) + "'", "'GGUF'");
  }
  STET_ASSIGN_OR_RETURN(const uint32_t version, reader->read<uint32_t>({"version"}));
  if (version == __builtin_bswap32(2) || version == __builtin_bswap32(3)) {
    return bad_field({"version"}, 4, "a big-endian file", "2 or 3 in little-endian order");
  }
  if (version != 2 && version != 3) {
    return bad_field({"version"}, 4, version, "2 or 3");
  }
  return version;
}

Result<uint64_t> read_count(ByteReader* reader, std::string_view what, uint64_t most) {
  const uint64_t at = reader->offset();
  STET_ASSIGN_OR_RETURN(const uint64_t count, reader->read<uint64_t>({what}));
  if (count > most) {
    return bad_field({what}, at, count, "at most " + std::to_string(most));
  }
  return count;
}

Status check_bytes_left(const ByteReader& reader, std::string_view what, uint64_t at,
                        uint64_t count, uint64_t min_bytes) {
  if (count * min_bytes > reader.bytes_left()) {
    return bad_field({what}, at, count,
                     "at most " + std::to_string(reader.bytes_left() / min_bytes) +
                         ", what the file has bytes for");
  }
  return {};
}

}  // namespace

Result<TensorIndex> parse_gguf(std::span<const std::byte> bytes) {
  constexpr uint64_t kTensorCountAt = 8;
  constexpr uint64_t kKeyCountAt = 16;
  ByteReader reader(bytes);
  TensorIndex index;
  STET_ASSIGN_OR_RETURN(index.version, read_version(&reader));
  STET_ASSIGN_OR_RETURN(const uint64_t num_tensors,
                        read_count(&reader, "tensor count", kMaxTensors));
  STET_ASSIGN_OR_RETURN(const uint64_t num_keys,
                        read_count(&reader, "metadata key count", kMaxKeys));
  STET_RETURN_IF_ERROR(
      check_bytes_left(reader, "metadata key count", kKeyCountAt, num_keys, kMinKeyBytes));
  STET_RETURN_IF_ERROR(read_metadata(&reader, num_keys, &index));
  STET_RETURN_IF_ERROR(
      check_bytes_left(reader, "tensor count", kTensorCountAt, num_tensors, kMinTensorBytes));
  STET_RETURN_IF_ERROR(read_tensors(&reader, num_tensors, bytes, &index));
  return index;
}

}  // namespace stet::formats
