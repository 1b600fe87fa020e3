// Collects what is wrong with a request, so that a client learns all of it at once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/server/api_error.h"

namespace stet::server {

// External synchronisation.
class Violations {
 public:
  void add(std::string_view reason, std::string field, std::string description) {
    if (list_.size() < kMaxViolations) {
      list_.push_back({reason, std::move(field), std::move(description)});
    }
  }
  bool empty() const { return list_.empty(); }
  bool full() const { return list_.size() >= kMaxViolations; }
  std::vector<Violation> take() { return std::move(list_); }

 private:
  std::vector<Violation> list_;
};

// Shortest text that reads back as the same value; "nan", "inf".
std::string number_text(float value);

}  // namespace stet::server
