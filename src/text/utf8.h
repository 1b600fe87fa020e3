// UTF-8 by code points (The Unicode Standard, 3.9): decoding, maximal subparts, white space as
// Python and Onigmo see it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace stet::text {

// What stands at the start of some bytes.
struct Utf8Unit {
  char32_t code_point = 0;  // meaningful only if kComplete
  size_t num_bytes = 1;     // of the code point, or of the maximal invalid (or unfinished) subpart
  enum class Kind : uint8_t { kComplete, kUnfinished, kInvalid } kind = Kind::kComplete;
};

// `bytes` is not empty. kUnfinished: the bytes end inside a code point that may still become
// complete.
Utf8Unit decode_utf8(std::string_view bytes);

// Offset of the first byte that belongs to no code point, or npos.
size_t first_invalid_utf8(std::string_view bytes);

void append_code_point(char32_t code_point, std::string* out);

// The functions below take valid UTF-8.
size_t count_code_points(std::string_view text);
inline bool is_continuation_byte(char c) {
  return (static_cast<uint8_t>(c) & 0xC0) == 0x80;
}

// str.isspace of Python: White_Space and the separators U+001C..U+001F.
bool is_python_space(char32_t code_point);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace stet::text
