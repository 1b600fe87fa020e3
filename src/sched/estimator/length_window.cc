// One class's window of lengths and its product-limit estimate.
#include <algorithm>
#include <cmath>

#include "stet/sched/output_lengths.h"

namespace stet::sched {
namespace {

constexpr uint32_t kWindow = 1000;  // as published: a few minutes of a busy server
// Pseudo-observations that outlive every max_tokens. The published half window of them is so
// cautious that a cold server under load queues for minutes (scheduler.md sec. 10: 19 % of requests
// in SLA against 99 %).
constexpr double kPrior = 4.0;
constexpr uint32_t kNewest = 128;
// With fewer older entries than this, equal halves differ by kDrifted too often: P < 0.3 % at 256
// (two-sample KS test).
constexpr uint32_t kOldest = 256;
constexpr double kDrifted = 0.2;
constexpr uint32_t kDriftCheckPeriod =
    32;  // walking the window at every end would cost more than it tells

}  // namespace

LengthWindow::LengthWindow() : ring_(kWindow) {}

void LengthWindow::clear() {
  next_ = num_entries_ = num_since_drift_check_ = 0;
  ended_.fill(0);
  cut_.fill(0);
}

void LengthWindow::drop_oldest() {
  const uint16_t entry = ring_[(next_ + kWindow - num_entries_) % kWindow];
  --((entry & kCutBit) != 0 ? cut_ : ended_)[entry & ~kCutBit];
  --num_entries_;
}

void LengthWindow::add(uint32_t num_outputs, bool cut) {
  if (num_entries_ == kWindow) {
    drop_oldest();
  }
  const auto bucket = static_cast<uint16_t>(length_bucket(num_outputs));
  ++(cut ? cut_ : ended_)[bucket];
  ring_[next_] = cut ? bucket | kCutBit : bucket;
  next_ = (next_ + 1) % kWindow;
  ++num_entries_;
  if (++num_since_drift_check_ < kDriftCheckPeriod) {
    return;
  }
  num_since_drift_check_ = 0;
  if (drift() > kDrifted) {
    while (num_entries_ > kNewest) {
      drop_oldest();
    }
  }
}

// Over the times as observed, cuts included: a change of either shows.
double LengthWindow::drift() const {
  if (num_entries_ < kNewest + kOldest) {
    return 0.0;
  }
  std::array<uint16_t, kNumLengthBuckets> newest{};
  for (uint32_t i = 1; i <= kNewest; ++i) {
    ++newest[ring_[(next_ + kWindow - i) % kWindow] & ~kCutBit];
  }
  double distance = 0.0;
  uint32_t below_newest = 0, below = 0;
  for (uint32_t b = 0; b < kNumLengthBuckets; ++b) {
    below_newest += newest[b];
    below += ended_[b] + cut_[b];
    const double f_newest = static_cast<double>(below_newest) / kNewest;
    const double f_rest = static_cast<double>(below - below_newest) / (num_entries_ - kNewest);
    distance = std::max(distance, std::abs(f_newest - f_rest));
  }
  return distance;
}

void LengthWindow::fill(const std::array<uint16_t, kNumLengthBuckets>& running,
                        SurvivalCurve* curve) const {
  double at_risk = kPrior + num_entries_;  // of those whose length is in this bucket or beyond
  for (const uint16_t n : running) {
    at_risk += n;
  }
  double alive = 1.0;
  for (uint32_t b = 0; b < kNumLengthBuckets; ++b) {
    const double before = alive;
    if (ended_[b] != 0) {
      alive *= 1.0 - ended_[b] / at_risk;
    }
    at_risk -= ended_[b] + cut_[b] + running[b];
    // A wide bucket answers for its first length, whose like are all still alive.
    curve->alive[b] = static_cast<float>(b < kNumExactLengths ? alive : before);
  }
}

}  // namespace stet::sched
