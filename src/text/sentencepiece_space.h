// SentencePiece spells a space as U+2581, "lower one eighth block".
#pragma once

#include <string>
#include <string_view>

namespace stet::text {

inline constexpr std::string_view kSpelledSpace = "\xE2\x96\x81";

// `text` with every U+2581 as a space.
inline std::string unspell_spaces(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t found = text.find(kSpelledSpace, at);
    out.append(text.substr(at, found - at));
    if (found == std::string_view::npos) {
      break;
    }
    out.push_back(' ');
    at = found + kSpelledSpace.size();
  }
  return out;
}

}  // namespace stet::text
