#include "src/text/jinja_strings.h"

#include <algorithm>
#include <cstring>

#include "src/text/jinja_value.h"
#include "src/text/utf8.h"

namespace stet::text {
namespace {

constexpr size_t kAbsent = std::string_view::npos;

// The code point that begins at `at`.
std::string_view character_at(std::string_view text, size_t at) {
  return text.substr(at, decode_utf8(text.substr(at)).num_bytes);
}

size_t previous_character(std::string_view text, size_t at) {
  do {
    --at;
  } while (is_continuation_byte(text[at]));
  return at;
}

bool is_space_at(std::string_view text, size_t at) {
  return is_python_space(decode_utf8(text.substr(at)).code_point);
}

// Python's line boundaries. CR LF is one.
size_t line_end_length(std::string_view text, size_t at) {
  const char32_t c = decode_utf8(text.substr(at)).code_point;
  if (c == '\r') {
    return at + 1 < text.size() && text[at + 1] == '\n' ? 2 : 1;
  }
  const bool ends = (c >= 0x0A && c <= 0x0C) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                    c == 0x2028 || c == 0x2029;
  return ends ? character_at(text, at).size() : 0;
}

std::vector<OriginText> split_at_spaces(const OriginText& text, int64_t max_splits) {
  std::vector<OriginText> parts;
  const std::string_view bytes = text.str();
  size_t at = 0;
  while (true) {
    while (at < bytes.size() && is_space_at(bytes, at)) {
      at += character_at(bytes, at).size();
    }
    if (at == bytes.size()) {
      return parts;
    }
    if (max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits) {
      parts.push_back(text.slice(at, bytes.size()));
      return parts;
    }
    const size_t begin = at;
    while (at < bytes.size() && !is_space_at(bytes, at)) {
      at += character_at(bytes, at).size();
    }
    parts.push_back(text.slice(begin, at));
  }
}

std::vector<OriginText> split_at_spaces_from_right(const OriginText& text, int64_t max_splits) {
  std::vector<OriginText> parts;  // last first
  const std::string_view bytes = text.str();
  size_t end = bytes.size();
  while (true) {
    while (end > 0 && is_space_at(bytes, previous_character(bytes, end))) {
      end = previous_character(bytes, end);
    }
    if (end == 0) {
      break;
    }
    if (max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits) {
      parts.push_back(text.slice(0, end));
      break;
    }
    size_t begin = end;
    while (begin > 0 && !is_space_at(bytes, previous_character(bytes, begin))) {
      begin = previous_character(bytes, begin);
    }
    parts.push_back(text.slice(begin, end));
    end = begin;
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

void check_separator(const OriginText& separator) {
  if (separator.empty()) {
    throw JinjaError("empty separator");
  }
}

std::string reversed(std::string_view bytes) {
  return {bytes.rbegin(), bytes.rend()};
}

std::vector<char32_t> sorted_characters(std::string_view text) {
  std::vector<char32_t> found;
  while (!text.empty()) {
    const Utf8Unit unit = decode_utf8(text);
    found.push_back(unit.code_point);
    text.remove_prefix(unit.num_bytes);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

size_t find_bytes(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) {
    return kAbsent;
  }
  if (what.empty()) {
    return from;
  }
  // glibc: two-way string matching (Crochemore and Perrin 1991) for long needles.
  const void* found = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  return found == nullptr ? kAbsent
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t rfind_bytes(std::string_view text, std::string_view what) {
  const size_t from_end = find_bytes(reversed(text), reversed(what));
  return from_end == kAbsent ? kAbsent : text.size() - from_end - what.size();
}

OriginText strip(const OriginText& text, const OriginText* chars, bool left, bool right) {
  const std::string_view bytes = text.str();
  const auto set = chars == nullptr ? std::vector<char32_t>() : sorted_characters(chars->str());
  auto strips = [&](size_t at) {
    const char32_t c = decode_utf8(bytes.substr(at)).code_point;
    return chars == nullptr ? is_python_space(c) : std::binary_search(set.begin(), set.end(), c);
  };
  size_t begin = 0;
  size_t end = bytes.size();
  while (left && begin < end && strips(begin)) {
    begin += character_at(bytes, begin).size();
  }
  while (right && end > begin && strips(previous_character(bytes, end))) {
    end = previous_character(bytes, end);
  }
  return text.slice(begin, end);
}

std::vector<OriginText> split(const OriginText& text, const OriginText* separator,
                              int64_t max_splits) {
  if (separator == nullptr) {
    return split_at_spaces(text, max_splits);
  }
  check_separator(*separator);
  std::vector<OriginText> parts;
  size_t begin = 0;
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    const size_t at = find_bytes(text.str(), separator->str(), begin);
    if (at == kAbsent) {
      break;
    }
    parts.push_back(text.slice(begin, at));
    begin = at + separator->size();
  }
  parts.push_back(text.slice(begin, text.size()));
  return parts;
}

std::vector<OriginText> split_from_right(const OriginText& text, const OriginText* separator,
                                         int64_t max_splits) {
  if (separator == nullptr) {
    return split_at_spaces_from_right(text, max_splits);
  }
  check_separator(*separator);
  std::vector<OriginText> parts;  // last first
  const std::string backwards = reversed(text.str());
  const std::string wanted = reversed(separator->str());
  size_t end = text.size();
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    const size_t from_end = find_bytes(backwards, wanted, text.size() - end);
    if (from_end == kAbsent) {
      break;
    }
    parts.push_back(text.slice(text.size() - from_end, end));
    end = text.size() - from_end - wanted.size();
  }
  parts.push_back(text.slice(0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<OriginText> split_lines(const OriginText& text, bool keep_ends) {
  std::vector<OriginText> lines;
  const std::string_view bytes = text.str();
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t ending = line_end_length(bytes, at);
    if (ending != 0) {
      lines.push_back(text.slice(begin, keep_ends ? at + ending : at));
      begin = at + ending;
    }
    at += ending != 0 ? ending : character_at(bytes, at).size();
  }
  if (begin < bytes.size()) {
    lines.push_back(text.slice(begin, bytes.size()));
  }
  return lines;
}

OriginText replace(const OriginText& text, const OriginText& from, const OriginText& to,
                   int64_t max_count) {
  OriginText out;
  size_t begin = 0;
  for (int64_t count = 0; max_count < 0 || count < max_count; ++count) {
    // An empty pattern is found before every character and at the end.
    size_t at = from.empty() ? (begin <= text.size() ? begin : kAbsent)
                             : find_bytes(text.str(), from.str(), begin);
    if (at == kAbsent) {
      break;
    }
    if (!from.empty()) {
      out.append(text, begin, at);
      out.append(to);
      begin = at + from.size();
      continue;
    }
    out.append(to);
    if (begin == text.size()) {
      ++begin;
      break;
    }
    const size_t next = begin + character_at(text.str(), begin).size();
    out.append(text, begin, next);
    begin = next;
  }
  out.append(text, begin, text.size());
  return out;
}

OriginText join(const std::vector<OriginText>& parts, const OriginText& separator) {
  OriginText out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i != 0) {
      out.append(separator);
    }
    out.append(parts[i]);
  }
  return out;
}

std::vector<size_t> code_point_offsets(std::string_view text) {
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); ++at) {
    if (!is_continuation_byte(text[at])) {
      offsets.push_back(at);
    }
  }
  offsets.push_back(text.size());
  return offsets;
}

size_t SliceRange::count() const {
  if (step > 0) {
    return begin < end ? static_cast<size_t>((end - begin - 1) / step + 1) : 0;
  }
  return begin > end ? static_cast<size_t>((begin - end - 1) / -step + 1) : 0;
}

SliceRange slice_range(std::optional<int64_t> begin, std::optional<int64_t> end,
                       std::optional<int64_t> step, int64_t size) {
  // A step longer than the sequence picks one element; the clamp keeps its negation and sums in
  // range.
  const int64_t by = std::clamp<int64_t>(step.value_or(1), -(size + 1), size + 1);
  if (step == 0) {
    throw JinjaError("slice step cannot be zero");
  }
  const int64_t low = by > 0 ? 0 : -1;
  const int64_t high = by > 0 ? size : size - 1;
  auto place = [&](std::optional<int64_t> at, int64_t otherwise) {
    if (!at) {
      return otherwise;
    }
    return std::clamp(*at < 0 ? std::max(*at, -size - 1) + size : *at, low, high);
  };
  return {place(begin, by > 0 ? low : high), place(end, by > 0 ? high : low), by};
}

}  // namespace stet::text
