// Python's string operations on origin strings; positions are code points. The parts keep their
// origins.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "src/text/jinja_text.h"

namespace stet::text {

// Where `what` is in `text`, or npos; the last place for rfind. O(text + what) whatever they are,
// unlike std::string's: a template may search for what a message says.
size_t find_bytes(std::string_view text, std::string_view what, size_t from = 0);
size_t rfind_bytes(std::string_view text, std::string_view what);

// Strips white space, or the characters of `chars`.
OriginText strip(const OriginText& text, const OriginText* chars, bool left, bool right);
// No separator: at runs of white space. max_splits < 0: all.
std::vector<OriginText> split(const OriginText& text, const OriginText* separator,
                              int64_t max_splits);
std::vector<OriginText> split_from_right(const OriginText& text, const OriginText* separator,
                                         int64_t max_splits);
std::vector<OriginText> split_lines(const OriginText& text, bool keep_ends);
OriginText replace(const OriginText& text, const OriginText& from, const OriginText& to,
                   int64_t max_count);
OriginText join(const std::vector<OriginText>& parts, const OriginText& separator);

// Byte offset of each code point, and the size at the end.
std::vector<size_t> code_point_offsets(std::string_view text);

// The elements of a slice [begin:end:step] over `size` elements, in order, as slice.indices of
// Python has them.
struct SliceRange {
  int64_t begin, end, step;
  size_t count() const;
};
SliceRange slice_range(std::optional<int64_t> begin, std::optional<int64_t> end,
                       std::optional<int64_t> step, int64_t size);

}  // namespace stet::text
