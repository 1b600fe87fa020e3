#include "src/formats/byte_reader.h"

#include "stet/formats/tensor_index.h"

namespace stet::formats {

std::string printable(std::string_view text, size_t max_chars) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (char c : text) {
    if (out.size() >= max_chars) {
      return out + "...";
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      out.push_back(c);
    } else {
      out += "\\x";
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

std::string FieldName::to_string() const {
  std::string name(what);
  if (!owner.empty()) {
    name += " of '" + printable(owner) + "'";
  }
  if (index != kNoIndex) {
    name += "[" + std::to_string(index) + "]";
  }
  return name;
}

Status bad_field(const FieldName& field, uint64_t offset, std::string_view found,
                 std::string_view expected) {
  std::string message = field.to_string() + " at offset " + std::to_string(offset) + ": found ";
  message.append(found).append(", expected ").append(expected);
  return data_loss(std::move(message));
}

Status ByteReader::truncated(const FieldName& field, uint64_t wanted) const {
  return bad_field(field, offset_, std::to_string(bytes_left()) + " bytes left in the file",
                   std::to_string(wanted));
}

Result<std::string_view> ByteReader::read_string(const FieldName& field) {
  const uint64_t at = offset_;
  STET_ASSIGN_OR_RETURN(const uint64_t num_bytes, read<uint64_t>(field));
  if (num_bytes > kMaxStringBytes) {
    return bad_field(field, at, std::to_string(num_bytes) + " bytes of text",
                     "at most " + std::to_string(kMaxStringBytes));
  }
  if (num_bytes > bytes_left()) {
    return truncated(field, num_bytes);
  }
  const auto* begin = reinterpret_cast<const char*>(bytes_.data() + offset_);
  offset_ += num_bytes;
  return std::string_view(begin, num_bytes);
}

}  // namespace stet::formats
