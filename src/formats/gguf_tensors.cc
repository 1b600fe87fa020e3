// GGUF tensor table: num_tensors times (name, n_dims, dims, type, offset in the data section).
#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <utility>

#include "src/formats/gguf_parts.h"

namespace stet::formats {
namespace {

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinAlignment = 8;
constexpr uint64_t kMaxAlignment = 65536;

// ggml's names of types that exist but are not supported here, so that the refusal says what the
// file holds.
constexpr std::array<std::pair<uint32_t, std::string_view>, 19> kForeignTypes = {{
    {9, "Q8_1"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
    {19, "IQ1_S"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},
    {25, "I16"},   {26, "I32"},   {27, "I64"},     {28, "F64"},    {29, "IQ1_M"},
    {34, "TQ1_0"}, {35, "TQ2_0"}, {39, "MXFP4"},   {40, "NVFP4"},
}};
constexpr std::array kTypes = {
    TensorType::kF32,  TensorType::kF16,  TensorType::kBF16, TensorType::kQ4_0,  TensorType::kQ4_1,
    TensorType::kQ8_0, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ4_K,  TensorType::kQ5_K,
    TensorType::kQ6_K, TensorType::kQ2_K, TensorType::kQ3_K, TensorType::kIQ4_NL};

Status unsupported_type(std::string_view name, uint64_t offset, uint32_t raw) {
  std::string_view known = "unknown";
  for (const auto& [number, foreign] : kForeignTypes) {
    known = number == raw ? foreign : known;
  }
  std::string message =
      "tensor '" + printable(name) + "' (offset " + std::to_string(offset) + "): type ";
  message.append(known).append(" (" + std::to_string(raw) + ") is not supported; supported:");
  for (TensorType type : kTypes) {
    message.append(" ").append(tensor_type_name(type));
  }
  return data_loss(std::move(message));
}

Result<uint64_t> read_alignment(const TensorIndex& index) {
  constexpr std::string_view kKey = "general.alignment";
  if (!index.has(kKey)) {
    return kDefaultAlignment;
  }
  STET_ASSIGN_OR_RETURN(const uint64_t alignment, index.get_uint(kKey));
  if (!std::has_single_bit(alignment) || alignment < kMinAlignment || alignment > kMaxAlignment) {
    return bad_field({kKey}, index.metadata.find(kKey)->second.file_offset, alignment,
                     "a power of two in [8, 65536]");
  }
  return alignment;
}

// One entry of the table before its bytes are found.
struct Entry {
  uint64_t num_bytes = 0;
  uint64_t data_offset = 0;
  uint64_t offset_at = 0;  // where the offset field stands, for messages
};

Result<uint64_t> tensor_bytes(const TensorInfo& tensor, uint64_t dims_at) {
  const BlockFormat block = block_format(tensor.type);
  if (tensor.dims[0] % block.elements != 0) {
    return bad_field({"row length", tensor.name}, dims_at, tensor.dims[0],
                     "a multiple of " + std::to_string(block.elements) + ", the block of " +
                         std::string(tensor_type_name(tensor.type)));
  }
  uint64_t total = tensor.dims[0] / block.elements;
  bool overflow = __builtin_mul_overflow(total, uint64_t{block.bytes}, &total);
  for (size_t i = 1; i < tensor.dims.size(); ++i) {
    overflow = overflow || __builtin_mul_overflow(total, tensor.dims[i], &total);
  }
  if (overflow) {
    return bad_field({"dims", tensor.name}, dims_at, "more than 2^64 bytes",
                     "a tensor inside the file");
  }
  return total;
}

Status read_entry(ByteReader* reader, uint64_t i, TensorInfo* tensor, Entry* entry) {
  uint64_t at = reader->offset();
  STET_ASSIGN_OR_RETURN(const std::string_view name, reader->read_string({"tensor name", {}, i}));
  if (name.empty()) {
    return bad_field({"tensor name", {}, i}, at, "an empty name", "a name");
  }
  tensor->name = name;

  at = reader->offset();
  STET_ASSIGN_OR_RETURN(const uint32_t num_dims, reader->read<uint32_t>({"n_dims", name}));
  if (num_dims < 1 || num_dims > kMaxDims) {
    return bad_field({"n_dims", name}, at, num_dims, "1..4");
  }
  const uint64_t dims_at = reader->offset();
  for (uint32_t d = 0; d < num_dims; ++d) {
    at = reader->offset();
    STET_ASSIGN_OR_RETURN(const uint64_t dim, reader->read<uint64_t>({"dim", name, d}));
    if (dim < 1) {
      return bad_field({"dim", name, d}, at, dim, "at least 1");
    }
    tensor->dims.push_back(dim);
  }

  at = reader->offset();
  STET_ASSIGN_OR_RETURN(const uint32_t raw_type, reader->read<uint32_t>({"type", name}));
  const auto type = static_cast<TensorType>(raw_type);
  if (std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end()) {
    return unsupported_type(name, at, raw_type);
  }
  tensor->type = type;
  STET_ASSIGN_OR_RETURN(entry->num_bytes, tensor_bytes(*tensor, dims_at));

  entry->offset_at = reader->offset();
  STET_ASSIGN_OR_RETURN(entry->data_offset, reader->read<uint64_t>({"data offset", name}));
  return {};
}

Status check_unique_names(const TensorIndex& index) {
  for (size_t i = 1; i < index.by_name.size(); ++i) {
    const std::string& name = index.tensors[index.by_name[i]].name;
    if (name == index.tensors[index.by_name[i - 1]].name) {
      return data_loss("tensor table: found '" + printable(name) +
                       "' twice, expected unique names");
    }
  }
  return {};
}

// Gives every tensor its bytes: aligned, inside the data section, disjoint.
Status place_tensors(std::span<const std::byte> file, uint64_t table_end, uint64_t alignment,
                     std::span<const Entry> entries, TensorIndex* index) {
  const uint64_t data_begin = (table_end + alignment - 1) / alignment * alignment;
  const uint64_t data_bytes = data_begin < file.size() ? file.size() - data_begin : 0;
  std::vector<uint32_t> by_offset(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    TensorInfo& tensor = index->tensors[i];
    const FieldName field{"data offset", tensor.name};
    if (entry.data_offset % alignment != 0) {
      return bad_field(field, entry.offset_at, entry.data_offset,
                       "a multiple of the alignment " + std::to_string(alignment));
    }
    if (entry.data_offset > data_bytes || entry.num_bytes > data_bytes - entry.data_offset) {
      return bad_field(
          field, entry.offset_at,
          std::to_string(entry.num_bytes) + " bytes from " + std::to_string(entry.data_offset),
          "an extent inside the data section of " + std::to_string(data_bytes) + " bytes");
    }
    tensor.file_offset = data_begin + entry.data_offset;
    tensor.bytes = file.subspan(tensor.file_offset, entry.num_bytes);
  }

  std::iota(by_offset.begin(), by_offset.end(), 0u);
  std::sort(by_offset.begin(), by_offset.end(), [&](uint32_t a, uint32_t b) {
    return entries[a].data_offset < entries[b].data_offset;
  });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const uint32_t previous = by_offset[i - 1];
    const uint32_t next = by_offset[i];
    if (entries[next].data_offset < entries[previous].data_offset + entries[previous].num_bytes) {
      return bad_field(
          {"data offset", index->tensors[next].name}, entries[next].offset_at,
          entries[next].data_offset,
          "bytes of its own, not those of '" + printable(index->tensors[previous].name) + "'");
    }
  }
  return {};
}

}  // namespace

Status read_tensors(ByteReader* reader, uint64_t num_tensors, std::span<const std::byte> file,
                    TensorIndex* index) {
  STET_ASSIGN_OR_RETURN(const uint64_t alignment, read_alignment(*index));
  std::vector<Entry> entries(num_tensors);
  index->tensors.resize(num_tensors);
  for (uint64_t i = 0; i < num_tensors; ++i) {
    STET_RETURN_IF_ERROR(read_entry(reader, i, &index->tensors[i], &entries[i]));
  }
  index->by_name.resize(num_tensors);
  std::iota(index->by_name.begin(), index->by_name.end(), 0u);
  std::sort(index->by_name.begin(), index->by_name.end(), [&](uint32_t a, uint32_t b) {
    return index->tensors[a].name < index->tensors[b].name;
  });
  STET_RETURN_IF_ERROR(check_unique_names(*index));
  return place_tensors(file, reader->offset(), alignment, entries, index);
}

}  // namespace stet::formats
