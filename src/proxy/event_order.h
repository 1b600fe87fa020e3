// Holds a daemon to the order of events (api.md sec. 2): Started PromptInfo? (Delta | Finished)*
// Summary, one Finished per choice, no Delta after it. A proxy that trusted a newer or broken
// daemon would make broken streams of it.
#pragma once

#include <cstdint>
#include <vector>

#include "stet/v1/inference.pb.h"

namespace stet::proxy {

// Owned by the I/O thread.
class EventOrder {
 public:
  explicit EventOrder(uint32_t num_choices) : num_choices_(num_choices) {}

  // False: the event may not come here. An event this build does not know is no offence (event not
  // set).
  bool accept(const v1::GenerateResponse& event);
  bool complete() const { return summary_; }

 private:
  bool open_choice(uint32_t index) const {
    return started_ && !summary_ && index < open_.size() && open_[index];
  }

  const uint32_t num_choices_;
  std::vector<bool> open_;
  uint32_t num_open_ = 0;
  bool started_ = false;
  bool summary_ = false;
};

}  // namespace stet::proxy
