#include "src/text/utf8.h"

#include "stet/text/detokenizer.h"

namespace stet::text {

// Table 3-7 of the Unicode Standard: the first byte fixes the length and the range of the second
// byte; a subpart ends before the first byte that does not fit.
Utf8Unit decode_utf8(std::string_view bytes) {
  const auto lead = static_cast<uint8_t>(bytes[0]);
  if (lead < 0x80) {
    return {lead, 1, Utf8Unit::Kind::kComplete};
  }
  size_t length = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    low = lead == 0xE0 ? 0xA0 : low;
    high = lead == 0xED ? 0x9F : high;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    low = lead == 0xF0 ? 0x90 : low;
    high = lead == 0xF4 ? 0x8F : high;
  } else {
    return {0, 1, Utf8Unit::Kind::kInvalid};
  }
  char32_t code_point = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) {
      return {0, i, Utf8Unit::Kind::kUnfinished};
    }
    const auto byte = static_cast<uint8_t>(bytes[i]);
    if (byte < low || byte > high) {
      return {0, i, Utf8Unit::Kind::kInvalid};
    }
    code_point = (code_point << 6) | (byte & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {code_point, length, Utf8Unit::Kind::kComplete};
}

size_t first_invalid_utf8(std::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    if (static_cast<uint8_t>(bytes[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Unit unit = decode_utf8(bytes.substr(at));
    if (unit.kind != Utf8Unit::Kind::kComplete) {
      return at;
    }
    at += unit.num_bytes;
  }
  return std::string_view::npos;
}

void append_code_point(char32_t code_point, std::string* out) {
  auto push = [out](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    push(code_point);
  } else if (code_point < 0x800) {
    push(0xC0 | (code_point >> 6));
    push(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    push(0xE0 | (code_point >> 12));
    push(0x80 | ((code_point >> 6) & 0x3F));
    push(0x80 | (code_point & 0x3F));
  } else {
    push(0xF0 | (code_point >> 18));
    push(0x80 | ((code_point >> 12) & 0x3F));
    push(0x80 | ((code_point >> 6) & 0x3F));
    push(0x80 | (code_point & 0x3F));
  }
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (const char c : text) {
    count += is_continuation_byte(c) ? 0 : 1;
  }
  return count;
}

bool is_python_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_valid_utf8(std::string_view bytes) {
  return first_invalid_utf8(bytes) == std::string_view::npos;
}

void append_utf8_lossy(std::string_view bytes, std::string* out) {
  while (!bytes.empty()) {
    const Utf8Unit unit = decode_utf8(bytes);
    out->append(unit.kind == Utf8Unit::Kind::kComplete ? bytes.substr(0, unit.num_bytes)
                                                       : kReplacementCharacter);
    bytes.remove_prefix(unit.num_bytes);
  }
}

}  // namespace stet::text
