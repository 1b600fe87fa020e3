// Reads little-endian fields from a span and never past its end. Every failure names field, offset,
// found and expected.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "stet/base/status.h"

namespace stet::formats {

static_assert(std::endian::native == std::endian::little,
              "files are little-endian and are read as they lie");

// The name of a field, put together only when an error needs it: "length of 'general.name'[3]".
struct FieldName {
  static constexpr uint64_t kNoIndex = std::numeric_limits<uint64_t>::max();
  std::string_view what;
  std::string_view owner = {};
  uint64_t index = kNoIndex;
  std::string to_string() const;
};

// DATA_LOSS "<field> at offset <offset>: found <found>, expected <expected>".
Status bad_field(const FieldName& field, uint64_t offset, std::string_view found,
                 std::string_view expected);
inline Status bad_field(const FieldName& field, uint64_t offset, uint64_t found,
                        std::string_view expected) {
  return bad_field(field, offset, std::to_string(found), expected);
}

inline constexpr uint64_t kMaxStringBytes = uint64_t{16} << 20;

// External synchronisation.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t offset() const { return offset_; }
  uint64_t bytes_left() const { return bytes_.size() - offset_; }

  template <class T>
  Result<T> read(const FieldName& field) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    if (bytes_left() < sizeof(T)) {
      return truncated(field, sizeof(T));
    }
    T value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  // Length (64 bits), then that many bytes. The view points into the file.
  Result<std::string_view> read_string(const FieldName& field);

 private:
  Status truncated(const FieldName& field, uint64_t wanted) const;

  std::span<const std::byte> bytes_;
  size_t offset_ = 0;
};

}  // namespace stet::formats
