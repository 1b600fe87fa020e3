// Incremental detokenizer and stop strings of one choice. External synchronisation (one text thread
// per request).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stet/text/tokenizer.h"

namespace stet::text {

// Turns tokens into valid UTF-8, never splitting a code point; at the end bytes that are no UTF-8
// become U+FFFD.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer* tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}
  void append(uint32_t token_id, std::string* out);  // appends what is complete
  void finish(std::string* out);  // appends U+FFFD for what never became complete

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;  // < 4 bytes: a code point that may still become complete
};

struct StopMatch {
  size_t string_index = 0;  // which stop string
  std::string_view stop;
};

// Withholds exactly the longest suffix that is a proper prefix of a stop string. A match is decided
// at the first byte at which a stop string is complete; of those complete there the longest (the
// one that begins first) wins. So the outcome does not depend on how the text is cut into pieces,
// and no further token is computed in the hope of a longer match.
class StopMatcher {
 public:
  StopMatcher(std::vector<std::string> stops, bool include_in_output);
  // Feeds text; appends to `out` what may be sent. After a match nothing more is accepted.
  std::optional<StopMatch> feed(std::string_view text, std::string* out);
  void finish(std::string* out);  // no more text: releases what was withheld (unless matched)
  bool empty() const { return stops_.empty(); }

 private:
  std::optional<size_t> advance(char byte);

  std::vector<std::string> stops_;
  bool include_;
  std::vector<std::vector<uint32_t>> failure_;  // per stop string: [length + 1]
  std::vector<uint32_t> progress_;  // per stop string: bytes of it that end the text so far
  bool matched_ = false;
  std::string held_;
};

// Appends `bytes` to `out` with every maximal invalid part replaced by U+FFFD.
void append_utf8_lossy(std::string_view bytes, std::string* out);
bool is_valid_utf8(std::string_view bytes);

}  // namespace stet::text
