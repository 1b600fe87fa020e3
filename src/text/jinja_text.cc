#include "src/text/jinja_text.h"

#include <algorithm>

namespace stet::text {

void OriginText::append(std::string_view text, Origin origin) {
  if (text.empty()) {
    return;
  }
  bytes_.append(text);
  if (!runs_.empty() && runs_.back().origin == origin) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), origin});
  }
}

size_t OriginText::run_at(size_t byte) const {
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), byte,
                                      [](size_t at, const Run& run) { return at < run.end; });
  return static_cast<size_t>(after - runs_.begin());
}

Origin OriginText::origin_at(size_t byte) const {
  return runs_[run_at(byte)].origin;
}

void OriginText::append(const OriginText& text, size_t begin, size_t end) {
  if (begin >= end) {
    return;
  }
  for (size_t run = text.run_at(begin); begin < end; ++run) {
    const size_t stop = std::min(end, text.runs_[run].end);
    append(std::string_view(text.bytes_).substr(begin, stop - begin), text.runs_[run].origin);
    begin = stop;
  }
}

OriginText OriginText::slice(size_t begin, size_t end) const {
  OriginText out;
  out.append(*this, begin, end);
  return out;
}

}  // namespace stet::text
