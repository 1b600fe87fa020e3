// Prints a stream as it comes and keeps what chat needs afterwards.
#pragma once

#include <cstdio>
#include <string>

#include "stet/base/status.h"

namespace stet::v1 {
class GenerateResponse;
class Summary;
}  // namespace stet::v1

namespace stet::cli {

// External synchronisation.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(std::FILE* out) : out_(out) {}
  void on_event(const v1::GenerateResponse& event);
  const std::string& text() const { return text_; }
  // "42 tokens, 98.1 tokens/s, first token after 31 ms, prompt of 35 tokens"; "" before the
  // summary.
  const std::string& figures() const { return figures_; }

 private:
  std::FILE* const out_;
  std::string text_, figures_;
};

std::string figures_of(const v1::Summary& summary);

// One line on stderr; gives the exit code for it.
int report(const Status& status);

}  // namespace stet::cli
