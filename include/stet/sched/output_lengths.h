// What ended requests teach about those that run: how long outputs get, and how much of the pool to
// keep back. scheduler.md sec. 4 (after LightLLM's Past-Future scheduler, ASPLOS 2025; what differs
// is said where it differs).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "stet/sched/sched_view.h"
#include "stet/sched/step_time.h"

namespace stet::sched {

// Lengths in outputs, exact below 64 and at most 3.2 % wide above. Bucket b holds lengths from
// length_bucket_first(b) up to the next one's first: exponent and upper six bits of the fraction of
// n + 64 as a float. An estimate looks up 64 of them per sequence, and this form vectorises.
inline constexpr uint32_t kNumExactLengths = 64;
inline constexpr uint32_t kLengthsPerOctave = 64;
inline constexpr uint32_t kNumLengthBuckets = 15 * kLengthsPerOctave;
inline constexpr int32_t kLongestLength = (1 << 21) - 65;
inline uint32_t length_bucket(uint32_t num_outputs) {
  constexpr int kFractionBitsLeft = 23 - 6;
  constexpr uint32_t kFirst = std::bit_cast<uint32_t>(64.0f) >> kFractionBitsLeft;
  const int32_t n = static_cast<int32_t>(std::min<uint32_t>(num_outputs, kLongestLength)) + 64;
  return (std::bit_cast<uint32_t>(static_cast<float>(n)) >> kFractionBitsLeft) - kFirst;
}
inline uint32_t length_bucket_first(uint32_t bucket) {
  return ((64 + bucket % kLengthsPerOctave) << (bucket / kLengthsPerOctave)) - 64;
}

// S(n) = P(L > n) of an output's length L. Never increases with n, S(0) = 1. Within a bucket wider
// than one length it is that of the bucket's first.
struct SurvivalCurve {
  SurvivalCurve() { alive.fill(1.0f); }
  float at(uint32_t num_outputs) const { return alive[length_bucket(num_outputs)]; }
  std::array<float, kNumLengthBuckets> alive;
};

// The last lengths of one class. A run that was cut (max_tokens, cancel, fault) says "longer than
// this", not "this long".
class LengthWindow {
 public:
  LengthWindow();
  void add(uint32_t num_outputs, bool cut);
  void clear();
  uint32_t size() const { return num_entries_; }
  // The product-limit estimate (Kaplan and Meier 1958) over the window; `running[b]` outputs that
  // are still growing stand in bucket b, and count as cut there. Without them a window holds mostly
  // short outputs after every start and burst - they end first - and admission believes it
  // (scheduler.md sec. 4, censoring).
  void fill(const std::array<uint16_t, kNumLengthBuckets>& running, SurvivalCurve* curve) const;
  // Kolmogorov-Smirnov distance between the newest 128 and the rest; 0 while the rest is too small
  // to say.
  double drift() const;

 private:
  static constexpr uint16_t kCutBit = 0x8000;
  void drop_oldest();

  std::vector<uint16_t> ring_;  // buckets, kCutBit when cut
  uint32_t next_ = 0;
  uint32_t num_entries_ = 0;
  uint32_t num_since_drift_check_ = 0;
  std::array<uint16_t, kNumLengthBuckets> ended_{};  // of the window, per bucket
  std::array<uint16_t, kNumLengthBuckets> cut_{};
};

// Histories of all classes: (client, prompt bucket), else prompt bucket, else all; the most
// specific with enough entries speaks. Memory is bounded: the least recently seen client's class
// gives way. Owned by the step thread.
class OutputLengths {
 public:
  OutputLengths();

  LengthClass class_of(std::string_view client, uint32_t prompt_len);
  void on_finish(const LengthClass& length_class, uint32_t num_outputs, bool cut);
  // Before a plan that may admit: brings the curves that its sequences will ask for up to date.
  // Cheap when nothing ended.
  void refresh(const SchedView& view);
  const SurvivalCurve& curve(const LengthClass& length_class) const;
  uint32_t num_entries(const LengthClass& length_class) const;  // of the class that speaks
  // What an output is expected to reach: the client's hint, its cap when nothing else ends it, else
  // the median of its class (its cap while that is unknown).
  uint32_t expected_outputs(const OutputState& output) const;

 private:
  struct Level {
    LengthWindow window;
    SurvivalCurve curve;
    uint64_t refreshed_at_step = 0;
    bool changed = false;                               // since refreshed_at_step
    bool wanted = false;                                // within refresh
    std::array<uint16_t, kNumLengthBuckets> running{};  // within refresh
  };
  struct ClientSlot {
    uint64_t key = 0;  // 0 = free
    uint64_t last_seen = 0;
    uint32_t generation = 0;
  };

  uint32_t levels_of(const LengthClass& length_class,
                     std::array<uint32_t, 3>* levels) const;  // most specific first
  uint32_t speaking_level(const LengthClass& length_class) const;
  void want(const OutputState& output, uint64_t step);
  void count_running(const OutputState& output);

  std::deque<Level> levels_;  // all, prompt buckets, client slots as they are first taken
  std::vector<ClientSlot> clients_;
  std::vector<uint32_t> wanted_;  // levels, within refresh
  uint64_t num_seen_ = 0;
};

// Share of the pool that admission leaves alone: more after every eviction, less as requests end
// without one.
class AdaptiveReserve {
 public:
  void on_preempt();
  void on_finish();
  uint32_t permille() const { return permille_; }
  uint64_t num_blocks(uint32_t pool_blocks) const {
    return uint64_t{pool_blocks} * permille_ / 1000;
  }

 private:
  uint32_t permille_ = 30;
  uint32_t num_finished_ = 0;  // since the last change
};

// Owned by the engine; an input of plan().
struct Learned {
  OutputLengths lengths;
  AdaptiveReserve reserve;
  StepTimeModel step_time;

  // A choice ended, or a cut ended it, after `output.num_outputs`.
  void on_finish(const OutputState& output, bool cut);
  void on_preempt() { reserve.on_preempt(); }
};

}  // namespace stet::sched
