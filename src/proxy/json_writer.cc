#include "src/proxy/json_writer.h"

#include <charconv>
#include <cmath>

namespace stet::proxy {
namespace {

constexpr char kHex[] = "0123456789abcdef";

void append_escape(std::string* out, unsigned char c) {
  switch (c) {
    case '"': *out += "\\\""; return;
    case '\\': *out += "\\\\"; return;
    case '\n': *out += "\\n"; return;
    case '\r': *out += "\\r"; return;
    case '\t': *out += "\\t"; return;
    case '\b': *out += "\\b"; return;
    case '\f': *out += "\\f"; return;
    default:
      *out += "\\u00";
      *out += kHex[c >> 4];
      *out += kHex[c & 15];
  }
}

template <class T>
void append_chars(std::string* out, T value) {
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
  out->append(buffer, end.ptr);
}

}  // namespace

// Table 3-7 of the Unicode standard: the range of the second byte depends on the first.
int utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) {
    return 1;
  }
  if (lead < 0xC2 || lead > 0xF4) {
    return -1;
  }
  const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (lead == 0xE0) {
    low = 0xA0;
  } else if (lead == 0xED) {
    high = 0x9F;
  } else if (lead == 0xF0) {
    low = 0x90;
  } else if (lead == 0xF4) {
    high = 0x8F;
  }
  for (int i = 1; i < length; ++i) {
    if (static_cast<size_t>(i) >= text.size() || byte(static_cast<size_t>(i)) < low ||
        byte(static_cast<size_t>(i)) > high) {
      return -i;
    }
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

void append_json_escaped(std::string* out, std::string_view text) {
  size_t plain_from = 0;  // [plain_from, i) is copied in one piece
  size_t i = 0;
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\' && c < 0x80) {
      ++i;
      continue;
    }
    const int length = c < 0x80 ? 0 : utf8_length(text.substr(i));
    if (length > 0) {
      i += static_cast<size_t>(length);
      continue;
    }
    out->append(text, plain_from, i - plain_from);
    if (length == 0) {
      append_escape(out, c);
      ++i;
    } else {
      *out += "\xEF\xBF\xBD";
      i += static_cast<size_t>(-length);
    }
    plain_from = i;
  }
  out->append(text, plain_from, text.size() - plain_from);
}

void append_json_string(std::string* out, std::string_view text) {
  *out += '"';
  append_json_escaped(out, text);
  *out += '"';
}

void append_json_uint(std::string* out, uint64_t value) {
  append_chars(out, value);
}
void append_json_int(std::string* out, int64_t value) {
  append_chars(out, value);
}

void append_json_float(std::string* out, float value) {
  if (!std::isfinite(value)) {
    *out += "-9999.0";
    return;
  }
  const size_t from = out->size();
  append_chars(out, value);
  if (out->find_first_of(".e", from) == std::string::npos) {
    *out += ".0";  // stays a float for typed clients
  }
}

}  // namespace stet::proxy
