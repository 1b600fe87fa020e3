#include "src/text/byte_level.h"

#include <array>

#include "src/text/utf8.h"

namespace stet::text {
namespace {

// Bytes that are printable stand for themselves; the other 68 take U+0100, U+0101 ... in ascending
// order.
constexpr bool is_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
         (byte >= 0xAE && byte <= 0xFF);
}

struct Maps {
  std::array<char32_t, 256> to_code_point{};
  std::array<int16_t, 0x144> to_byte{};  // by code point; -1 = none

  constexpr Maps() {
    to_byte.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t code_point = is_itself(byte) ? static_cast<char32_t>(byte) : next++;
      to_code_point[static_cast<size_t>(byte)] = code_point;
      to_byte[code_point] = static_cast<int16_t>(byte);
    }
  }
};
constexpr Maps kMaps;
static_assert(kMaps.to_code_point[' '] == 0x120 && kMaps.to_byte[0x143] == 0xAD);

}  // namespace

char32_t byte_level_code_point(uint8_t byte) {
  return kMaps.to_code_point[byte];
}

std::optional<std::string> decode_byte_level(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  while (!spelling.empty()) {
    const Utf8Unit unit = decode_utf8(spelling);
    if (unit.kind != Utf8Unit::Kind::kComplete || unit.code_point >= kMaps.to_byte.size() ||
        kMaps.to_byte[unit.code_point] < 0) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(kMaps.to_byte[unit.code_point]));
    spelling.remove_prefix(unit.num_bytes);
  }
  return bytes;
}

}  // namespace stet::text
