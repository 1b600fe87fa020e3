#include <algorithm>

#include "stet/base/check.h"
#include "stet/text/detokenizer.h"

namespace stet::text {
namespace {

// failure[i] = length of the longest proper prefix of `stop` that is a suffix of its first i bytes
// (Knuth, Morris, Pratt 1977).
std::vector<uint32_t> failure_function(std::string_view stop) {
  std::vector<uint32_t> failure(stop.size() + 1, 0);
  uint32_t k = 0;
  for (size_t i = 1; i < stop.size(); ++i) {
    while (k > 0 && stop[i] != stop[k]) {
      k = failure[k];
    }
    k += stop[i] == stop[k] ? 1 : 0;
    failure[i + 1] = k;
  }
  return failure;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_in_output)
    : stops_(std::move(stops)), include_(include_in_output), progress_(stops_.size(), 0) {
  failure_.reserve(stops_.size());
  for (const std::string& stop : stops_) {
    STET_CHECK(!stop.empty(), "an empty stop string is refused by validation");
    failure_.push_back(failure_function(stop));
  }
}

std::optional<StopMatch> StopMatcher::feed(std::string_view text, std::string* out) {
  if (matched_) {
    return std::nullopt;
  }
  if (stops_.empty()) {
    out->append(text);
    return std::nullopt;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    if (const std::optional<size_t> index = advance(text[i])) {
      matched_ = true;
      const std::string& stop = stops_[*index];
      held_.append(text.substr(0, i + 1));  // ends with the stop string
      out->append(held_, 0, include_ ? held_.size() : held_.size() - stop.size());
      held_.clear();
      return StopMatch{*index, stop};
    }
  }
  held_.append(text);
  const size_t withheld = *std::max_element(progress_.begin(), progress_.end());
  out->append(held_, 0, held_.size() - withheld);
  held_.erase(0, held_.size() - withheld);
  return std::nullopt;
}

// Moves every stop string's automaton by one byte; the longest string that is complete now, if any.
std::optional<size_t> StopMatcher::advance(char byte) {
  std::optional<size_t> best;
  for (size_t s = 0; s < stops_.size(); ++s) {
    const std::string& stop = stops_[s];
    uint32_t k = progress_[s];
    while (k > 0 && stop[k] != byte) {
      k = failure_[s][k];
    }
    k += stop[k] == byte ? 1 : 0;
    progress_[s] = k;
    if (k == stop.size() && (!best || stop.size() > stops_[*best].size())) {
      best = s;
    }
  }
  return best;
}

void StopMatcher::finish(std::string* out) {
  out->append(held_);
  held_.clear();
}

}  // namespace stet::text
