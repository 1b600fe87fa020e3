// Cuts text into the words inside which BPE merges: one PCRE2 pattern per `tokenizer.ggml.pre`.
// Immutable; thread-safe.
#pragma once

#include <memory>
#include <string_view>

#include "stet/base/status.h"

namespace stet::text {

class PreTokenizer {
 public:
  // An unknown name is refused with the list of known ones.
  static Result<std::unique_ptr<const PreTokenizer>> create(std::string_view name);
  ~PreTokenizer();
  // Llama 3: a word that is a token is that token, whether or not merges lead there.
  bool takes_whole_words() const;

  // Walks the words of one text (valid UTF-8). One scan per thread. Every byte belongs to exactly
  // one word.
  class Scan {
   public:
    Scan(const PreTokenizer& rules, std::string_view text);
    ~Scan();
    Scan(const Scan&) = delete;
    Scan& operator=(const Scan&) = delete;
    // False at the end and on an error: then status() tells.
    bool next(std::string_view* word);
    const Status& status() const { return status_; }

   private:
    struct MatchData;
    const PreTokenizer& rules_;
    std::string_view text_;
    size_t at_ = 0;
    std::unique_ptr<MatchData> match_;
    Status status_;
  };

 private:
  struct Compiled;
  explicit PreTokenizer(std::unique_ptr<Compiled> compiled);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace stet::text
