#include "stet/sched/output_lengths.h"

#include <algorithm>
#include <bit>

namespace stet::sched {
namespace {

constexpr uint32_t kNumPromptBuckets = 10;  // by power of 4: 1..3, 4..15, ... 262144 and more
constexpr uint32_t kNumClientSlots = 256;   // about 2 MB of histories
constexpr uint32_t kFirstClientLevel = 1 + kNumPromptBuckets;
constexpr uint32_t kEnough = 64;  // entries that let a class speak for itself
// Outputs that still run move a curve by little per step; ends move it at once.
constexpr uint64_t kRefreshSteps = 32;

uint32_t prompt_bucket(uint32_t prompt_len) {
  return std::min((static_cast<uint32_t>(std::bit_width(prompt_len | 1U)) - 1) / 2,
                  kNumPromptBuckets - 1);
}

// FNV-1a: the same classes on every platform, so that plan logs repeat.
uint64_t client_key(std::string_view client, uint32_t bucket) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : client) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  }
  hash = (hash ^ bucket) * 0x100000001B3ULL;
  return hash == 0 ? 1 : hash;
}

}  // namespace

OutputLengths::OutputLengths() : levels_(kFirstClientLevel), clients_(kNumClientSlots) {
  wanted_.reserve(kFirstClientLevel + kNumClientSlots);
}

LengthClass OutputLengths::class_of(std::string_view client, uint32_t prompt_len) {
  LengthClass result{.prompt_bucket = prompt_bucket(prompt_len)};
  const uint64_t key = client_key(client, result.prompt_bucket);
  uint32_t slot = 0;
  for (uint32_t i = 0; i < kNumClientSlots; ++i) {
    if (clients_[i].key == key) {
      slot = i;
      break;
    }
    slot = clients_[i].last_seen < clients_[slot].last_seen ? i : slot;
  }
  ClientSlot& taken = clients_[slot];
  if (taken.key != key) {
    taken.key = key;
    ++taken.generation;
    if (levels_.size() == kFirstClientLevel + slot) {
      levels_.emplace_back();
    }
    levels_[kFirstClientLevel + slot].window.clear();
    levels_[kFirstClientLevel + slot].changed = true;
  }
  taken.last_seen = ++num_seen_;
  result.client_slot = slot;
  result.client_generation = taken.generation;
  return result;
}

uint32_t OutputLengths::levels_of(const LengthClass& length_class,
                                  std::array<uint32_t, 3>* levels) const {
  uint32_t n = 0;
  if (length_class.client_slot < kNumClientSlots &&
      clients_[length_class.client_slot].generation == length_class.client_generation) {
    (*levels)[n++] = kFirstClientLevel + length_class.client_slot;
  }
  (*levels)[n++] = 1 + length_class.prompt_bucket;
  (*levels)[n++] = 0;
  return n;
}

uint32_t OutputLengths::speaking_level(const LengthClass& length_class) const {
  std::array<uint32_t, 3> levels;
  const uint32_t n = levels_of(length_class, &levels);
  for (uint32_t i = 0; i < n; ++i) {
    if (levels_[levels[i]].window.size() >= kEnough) {
      return levels[i];
    }
  }
  return 0;
}

void OutputLengths::on_finish(const LengthClass& length_class, uint32_t num_outputs, bool cut) {
  std::array<uint32_t, 3> levels;
  const uint32_t n = levels_of(length_class, &levels);
  for (uint32_t i = 0; i < n; ++i) {
    levels_[levels[i]].window.add(num_outputs, cut);
    levels_[levels[i]].changed = true;
  }
}

const SurvivalCurve& OutputLengths::curve(const LengthClass& length_class) const {
  return levels_[speaking_level(length_class)].curve;
}

uint32_t OutputLengths::num_entries(const LengthClass& length_class) const {
  return levels_[speaking_level(length_class)].window.size();
}

// ---- refresh

void OutputLengths::want(const OutputState& output, uint64_t step) {
  const uint32_t index = speaking_level(output.length_class);
  Level& level = levels_[index];
  if (!level.wanted && (level.changed || step >= level.refreshed_at_step + kRefreshSteps)) {
    level.wanted = true;
    wanted_.push_back(index);
  }
}

void OutputLengths::count_running(const OutputState& output) {
  if (output.num_outputs == 0 || output.runs_to_max_tokens) {
    return;
  }
  std::array<uint32_t, 3> levels;
  const uint32_t n = levels_of(output.length_class, &levels);
  for (uint32_t i = 0; i < n; ++i) {
    Level& level = levels_[levels[i]];
    if (level.wanted) {
      ++level.running[length_bucket(output.num_outputs)];
    }
  }
}

void OutputLengths::refresh(const SchedView& view) {
  wanted_.clear();
  for (const RunningSeq& s : view.running) {
    want(s.output, view.step);
  }
  for (const WaitingSeq& s : view.waiting) {
    want(s.output, view.step);
  }
  if (wanted_.empty()) {
    return;
  }
  for (const RunningSeq& s : view.running) {
    count_running(s.output);
  }
  for (const WaitingSeq& s : view.waiting) {
    count_running(s.output);  // preempted or parked: cut, so far
  }
  for (const uint32_t index : wanted_) {
    Level& level = levels_[index];
    level.window.fill(level.running, &level.curve);
    level.running.fill(0);
    level.refreshed_at_step = view.step;
    level.changed = level.wanted = false;
  }
}

uint32_t OutputLengths::expected_outputs(const OutputState& output) const {
  if (output.expected_outputs != 0) {
    return std::min(output.expected_outputs, output.max_tokens);
  }
  if (output.runs_to_max_tokens || num_entries(output.length_class) == 0) {
    return output.max_tokens;
  }
  const auto& alive = curve(output.length_class).alive;
  const auto half = std::find_if(alive.begin(), alive.end(), [](float p) { return p <= 0.5f; });
  const auto bucket = static_cast<uint32_t>(std::min(half, alive.end() - 1) - alive.begin());
  return std::min(std::max(length_bucket_first(bucket), 1U), output.max_tokens);
}

// ---- reserve

namespace {
constexpr uint32_t kReserveStep = 10;  // permille per eviction
constexpr uint32_t kReserveMost = 150;
constexpr uint32_t kFinishedPerPermille = 1000;
}  // namespace

void AdaptiveReserve::on_preempt() {
  permille_ = std::min(permille_ + kReserveStep, kReserveMost);
  num_finished_ = 0;
}

void AdaptiveReserve::on_finish() {
  if (++num_finished_ == kFinishedPerPermille) {
    num_finished_ = 0;
    permille_ -= permille_ > 0 ? 1 : 0;
  }
}

void Learned::on_finish(const OutputState& output, bool cut) {
  reserve.on_finish();
  // A run that could not end by itself, or had not begun, says nothing about lengths.
  if (!output.runs_to_max_tokens && output.num_outputs > 0) {
    lengths.on_finish(output.length_class, output.num_outputs, cut);
  }
}

}  // namespace stet::sched
