// The byte <-> printable character map of GPT-2 (Radford et al. 2019, encoder.py bytes_to_unicode):
// byte-level vocabularies spell every byte as one printable code point, a space as U+0120.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace stet::text {

char32_t byte_level_code_point(uint8_t byte);

// The bytes a token's spelling stands for; nullopt if it holds a character outside the map (an
// added token).
std::optional<std::string> decode_byte_level(std::string_view spelling);

}  // namespace stet::text
