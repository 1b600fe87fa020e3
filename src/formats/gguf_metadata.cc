// GGUF metadata: num_keys times (key, value type, value). Arrays carry an element type and a count.
#include <array>
#include <utility>

#include "src/formats/gguf_parts.h"

namespace stet::formats {
namespace {

enum class ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};
constexpr uint32_t kNumValueTypes = 13;
// Bytes of one element in the file; a string has at least its length field.
constexpr std::array<uint8_t, kNumValueTypes> kMinElementBytes = {1, 1, 2,  2, 4, 4, 4,
                                                                  1, 8, 12, 8, 8, 8};

// What decoded metadata costs in memory, charged before it is allocated.
class Budget {
 public:
  Status charge(uint64_t bytes, const FieldName& field, uint64_t offset) {
    if (bytes > kMaxMetadataBytes - used_) {
      return bad_field(field, offset,
                       std::to_string(used_ + bytes) + " bytes of decoded metadata so far",
                       "at most " + std::to_string(kMaxMetadataBytes));
    }
    used_ += bytes;
    return {};
  }

 private:
  uint64_t used_ = 0;
};

class MetadataReader {
 public:
  MetadataReader(ByteReader* reader, std::string_view key, Budget* budget)
      : reader_(*reader), key_(key), budget_(*budget) {}

  Status read_value(MetaValue* out) {
    out->file_offset = reader_.offset();
    STET_ASSIGN_OR_RETURN(const ValueType type, read_type("type"));
    if (type == ValueType::kArray) {
      return read_array(out);
    }
    STET_ASSIGN_OR_RETURN(MetaScalar scalar, read_scalar(type));
    out->value = std::move(scalar);
    return {};
  }

 private:
  FieldName field(std::string_view what, uint64_t index = FieldName::kNoIndex) const {
    return {what, key_, index};
  }

  Result<ValueType> read_type(std::string_view what) {
    const uint64_t at = reader_.offset();
    STET_ASSIGN_OR_RETURN(const uint32_t raw, reader_.read<uint32_t>(field(what)));
    if (raw >= kNumValueTypes) {
      return bad_field(field(what), at, raw, "a metadata type in 0..12");
    }
    return static_cast<ValueType>(raw);
  }

  template <class T, class Wide>
  Result<Wide> read_number(uint64_t index = FieldName::kNoIndex) {
    STET_ASSIGN_OR_RETURN(const T value, reader_.read<T>(field("value", index)));
    return static_cast<Wide>(value);
  }

  Result<bool> read_bool(uint64_t index = FieldName::kNoIndex) {
    const uint64_t at = reader_.offset();
    STET_ASSIGN_OR_RETURN(const uint8_t raw, reader_.read<uint8_t>(field("value", index)));
    if (raw > 1) {
      return bad_field(field("value", index), at, raw, "a boolean, 0 or 1");
    }
    return raw == 1;
  }

  Result<std::string> read_text(uint64_t index = FieldName::kNoIndex) {
    const uint64_t at = reader_.offset();
    STET_ASSIGN_OR_RETURN(const std::string_view text, reader_.read_string(field("value", index)));
    STET_RETURN_IF_ERROR(budget_.charge(text.size() + 1, field("value", index), at));
    return std::string(text);
  }

  template <class T>
  static Result<MetaScalar> as_scalar(Result<T> value) {
    if (!value.ok()) {
      return value.status();
    }
    return MetaScalar(std::move(value).value());
  }

  Result<MetaScalar> read_scalar(ValueType type) {
    switch (type) {
      case ValueType::kU8: return as_scalar(read_number<uint8_t, uint64_t>());
      case ValueType::kU16: return as_scalar(read_number<uint16_t, uint64_t>());
      case ValueType::kU32: return as_scalar(read_number<uint32_t, uint64_t>());
      case ValueType::kU64: return as_scalar(read_number<uint64_t, uint64_t>());
      case ValueType::kI8: return as_scalar(read_number<int8_t, int64_t>());
      case ValueType::kI16: return as_scalar(read_number<int16_t, int64_t>());
      case ValueType::kI32: return as_scalar(read_number<int32_t, int64_t>());
      case ValueType::kI64: return as_scalar(read_number<int64_t, int64_t>());
      case ValueType::kF32: return as_scalar(read_number<float, double>());
      case ValueType::kF64: return as_scalar(read_number<double, double>());
      case ValueType::kBool: return as_scalar(read_bool());
      case ValueType::kString: return as_scalar(read_text());
      case ValueType::kArray: break;
    }
    return internal_error("an array is no scalar");  // read_value has branched off before
  }

  // `count` was checked against the bytes that are left; the memory is charged before it is
  // reserved.
  template <class Wide, class ReadOne>
  Status fill(uint64_t count, MetaValue* out, ReadOne read_one) {
    STET_RETURN_IF_ERROR(
        budget_.charge(count * sizeof(Wide), field("array length"), reader_.offset()));
    std::vector<Wide> values;
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      STET_ASSIGN_OR_RETURN(Wide value, read_one(i));
      values.push_back(std::move(value));
    }
    out->value = std::move(values);
    return {};
  }

  template <class T, class Wide>
  Status fill_numbers(uint64_t count, MetaValue* out) {
    return fill<Wide>(count, out, [this](uint64_t i) { return read_number<T, Wide>(i); });
  }

  Status read_array(MetaValue* out) {
    STET_ASSIGN_OR_RETURN(const ValueType type, read_type("element type"));
    const uint64_t at = reader_.offset();
    if (type == ValueType::kArray) {
      return bad_field(field("element type"), at - 4, "an array of arrays", "nesting of at most 1");
    }
    STET_ASSIGN_OR_RETURN(const uint64_t count, reader_.read<uint64_t>(field("array length")));
    const uint64_t most = reader_.bytes_left() / kMinElementBytes[static_cast<uint32_t>(type)];
    if (count > most) {
      return bad_field(field("array length"), at, count,
                       "at most " + std::to_string(most) + ", what the file has bytes for");
    }
    switch (type) {
      case ValueType::kU8: return fill_numbers<uint8_t, uint64_t>(count, out);
      case ValueType::kU16: return fill_numbers<uint16_t, uint64_t>(count, out);
      case ValueType::kU32: return fill_numbers<uint32_t, uint64_t>(count, out);
      case ValueType::kU64: return fill_numbers<uint64_t, uint64_t>(count, out);
      case ValueType::kI8: return fill_numbers<int8_t, int64_t>(count, out);
      case ValueType::kI16: return fill_numbers<int16_t, int64_t>(count, out);
      case ValueType::kI32: return fill_numbers<int32_t, int64_t>(count, out);
      case ValueType::kI64: return fill_numbers<int64_t, int64_t>(count, out);
      case ValueType::kF32: return fill_numbers<float, double>(count, out);
      case ValueType::kF64: return fill_numbers<double, double>(count, out);
      case ValueType::kBool:
        return fill<bool>(count, out, [this](uint64_t i) { return read_bool(i); });
      case ValueType::kString:
        return fill<std::string>(count, out, [this](uint64_t i) { return read_text(i); });
      case ValueType::kArray: break;
    }
    return internal_error("nested arrays were refused above");
  }

  ByteReader& reader_;
  std::string_view key_;
  Budget& budget_;
};

}  // namespace

Status read_metadata(ByteReader* reader, uint64_t num_keys, TensorIndex* index) {
  Budget budget;
  for (uint64_t i = 0; i < num_keys; ++i) {
    const uint64_t at = reader->offset();
    const FieldName field{"metadata key", {}, i};
    STET_ASSIGN_OR_RETURN(const std::string_view key, reader->read_string(field));
    if (key.empty()) {
      return bad_field(field, at, "an empty key", "a name");
    }
    STET_RETURN_IF_ERROR(budget.charge(key.size() + sizeof(MetaValue) + 64, field, at));
    const auto [entry, is_new] = index->metadata.try_emplace(std::string(key));
    if (!is_new) {
      return bad_field(field, at, "'" + printable(key) + "' a second time", "unique keys");
    }
    MetadataReader value(reader, entry->first, &budget);
    STET_RETURN_IF_ERROR(value.read_value(&entry->second));
  }
  return {};
}

}  // namespace stet::formats
