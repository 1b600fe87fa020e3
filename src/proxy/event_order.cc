#include "src/proxy/event_order.h"

namespace stet::proxy {
namespace {
constexpr uint32_t kMaxChoices = 128;  // api.md sec. 2.1: more is never accepted by a daemon
}

bool EventOrder::accept(const v1::GenerateResponse& event) {
  switch (event.event_case()) {
    case v1::GenerateResponse::kStarted:
      if (started_ || num_choices_ == 0 || num_choices_ > kMaxChoices) {
        return false;
      }
      started_ = true;
      open_.assign(num_choices_, true);
      num_open_ = num_choices_;
      return true;
    case v1::GenerateResponse::kPrompt: return started_ && !summary_;
    case v1::GenerateResponse::kDelta: return open_choice(event.delta().index());
    case v1::GenerateResponse::kFinished:
      if (!open_choice(event.finished().index())) {
        return false;
      }
      open_[event.finished().index()] = false;
      --num_open_;
      return true;
    case v1::GenerateResponse::kSummary:
      if (!started_ || summary_ || num_open_ > 0) {
        return false;
      }
      summary_ = true;
      return true;
    case v1::GenerateResponse::EVENT_NOT_SET: return true;
  }
  return true;
}

}  // namespace stet::proxy
