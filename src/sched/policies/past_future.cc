// Admits as much as fits at the future moment of peak memory, which is estimated from how long
// outputs have been (LightLLM's Past-Future scheduler, ASPLOS 2025; scheduler.md sec. 4). When the
// estimate was too low, whoever loses least work yields, and is admitted again when the peak that
// includes it fits.
#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "src/sched/estimator/peak_profile.h"
#include "src/sched/policies/policies.h"
#include "stet/sched/memory_estimator.h"
#include "stet/sched/output_lengths.h"
#include "stet/sched/token_budget.h"

namespace stet::sched {
namespace {

constexpr uint32_t kMostPreemptions = 3;  // of one sequence (scheduler.md sec. 8, 4)

uint32_t known_outputs(const OutputState& o) {
  if (o.runs_to_max_tokens) {
    return o.max_tokens;
  }
  uint64_t expected = o.expected_outputs;
  while (expected != 0 && expected <= o.num_outputs) {
    expected *= 2;
  }
  return static_cast<uint32_t>(std::min<uint64_t>(expected, o.max_tokens));
}

// What the candidate and the others must be given for the tokens they have.
uint64_t blocks_needed_now(const WaitingSeq& candidate, const PoolState& pool) {
  const uint32_t held = candidate.first_pos / pool.block_tokens;
  return blocks_for(candidate.num_known_tokens, pool.block_tokens) - held +
         candidate.num_unreferenced_blocks + pool.num_outstanding;
}

class PastFutureAdmission final : public AdmissionPolicy {
 public:
  explicit PastFutureAdmission(std::unique_ptr<MemoryEstimator> estimator)
      : estimator_(std::move(estimator)) {}

  void begin(const SchedView& view) override {
    view_ = &view;
    loaded_ = built_ = joined_ = false;
  }
  Verdict fits(const WaitingSeq& candidate, const PoolState& pool) override;
  void admitted(const WaitingSeq& candidate) override;
  bool predicts() const override { return true; }
  uint64_t forecast_peak(const SchedView& view) override;

 private:
  struct Place {
    uint64_t order_key = 0;
    uint32_t num_wanted = 0;  // positions; more than one = it prefills
    uint32_t max_blocks = 0;
    uint32_t num_preemptions = 0;
    std::span<const BlockId> table{};
    bool joined = false;    // within this plan
    size_t num_shared = 0;  // of the table, the first so many that others may hold too
  };
  template <class Seq>
  SeqMemory describe(const Seq& s) const;
  void load();
  bool keeps_promises(const WaitingSeq& candidate) const;
  bool fits_exactly(const WaitingSeq& candidate, size_t index, uint64_t limit);
  bool set_first_token_steps(const WaitingSeq& candidate, size_t index);
  uint32_t prefill_rate(size_t num_sequences) const;
  size_t index_of(const WaitingSeq& candidate) const;
  void join(const WaitingSeq& candidate, size_t index);
  void count_holder(std::span<const BlockId> blocks);
  void build();

  const std::unique_ptr<MemoryEstimator> estimator_;
  const SchedView* view_ = nullptr;
  std::vector<SeqMemory> seqs_;  // running and admitted, oldest first
  std::vector<Place> places_;    // beside seqs_
  SeqMemory candidate_;          // the one that fits() looked at last
  BlockMarks holders_;           // within build
  bool loaded_ = false;
  bool built_ = false;   // the estimator holds seqs_
  bool joined_ = false;  // seqs_ holds candidate_ already
};

Verdict PastFutureAdmission::fits(const WaitingSeq& candidate, const PoolState& pool) {
  if (pool.num_running == 0) {
    load();
    candidate_ = describe(candidate);
    return Verdict::kAdmit;  // alone it may take everything: the engine accepts only what the pool
                             // can hold
  }
  const uint64_t reserve =
      view_->learned == nullptr ? 0 : view_->learned->reserve.num_blocks(view_->num_blocks);
  if (blocks_needed_now(candidate, pool) + reserve > pool.num_available) {
    return Verdict::kWait;  // no peak is lower than the present: the usual refusal of a full pool,
                            // without an estimate
  }
  load();
  const size_t index = index_of(candidate);
  candidate_ = describe(candidate);
  built_ = !set_first_token_steps(candidate, index) && built_;
  if (!keeps_promises(candidate)) {
    return Verdict::kWait;
  }
  const uint64_t limit = (view_->num_blocks - reserve) * view_->block_tokens;
  if (!candidate.table.empty()) {
    return fits_exactly(candidate, index, limit) ? Verdict::kAdmit : Verdict::kWait;
  }
  if (!built_) {
    build();
  }
  return estimator_->peak_with(candidate_) <= limit ? Verdict::kAdmit : Verdict::kWait;
}

// For one that shares blocks with the others: first the cheap upper bound, then the batch with it.
bool PastFutureAdmission::fits_exactly(const WaitingSeq& candidate, size_t index, uint64_t limit) {
  if (built_ && estimator_->peak_with(candidate_) <= limit) {
    return true;
  }
  join(candidate, index);
  build();
  joined_ = estimator_->peak() <= limit;
  if (!joined_) {
    seqs_.erase(seqs_.begin() + static_cast<ptrdiff_t>(index));
    places_.erase(places_.begin() + static_cast<ptrdiff_t>(index));
    built_ = false;
  }
  return joined_;
}

void PastFutureAdmission::admitted(const WaitingSeq& candidate) {
  if (std::exchange(joined_, false)) {
    return;
  }
  join(candidate, index_of(candidate));
  if (built_) {
    estimator_->insert(candidate_);
  }
}

uint64_t PastFutureAdmission::forecast_peak(const SchedView& view) {
  begin(view);
  load();
  const uint32_t rate = prefill_rate(std::max<size_t>(seqs_.size(), 1));
  uint64_t ahead = 0;
  for (size_t i = 0; i < seqs_.size(); ++i) {
    if (places_[i].num_wanted > 1) {
      ahead += places_[i].num_wanted;
      seqs_[i].first_token_step = static_cast<uint32_t>((ahead + rate - 1) / rate) - 1;
    }
  }
  build();
  return estimator_->peak();
}

// ---- the batch

template <class Seq>
SeqMemory PastFutureAdmission::describe(const Seq& s) const {
  const bool learned = view_->learned != nullptr;
  return {.seq = s.seq,
          .num_known_tokens = s.num_known_tokens,
          .num_outputs = s.output.num_outputs,
          .max_outputs = std::max(s.output.max_tokens, s.output.num_outputs + 1),
          .known_outputs = known_outputs(s.output),
          .lengths = learned ? &view_->learned->lengths.curve(s.output.length_class) : nullptr,
          .table = {}};
}

void PastFutureAdmission::load() {
  if (std::exchange(loaded_, true)) {
    return;
  }
  seqs_.clear();
  places_.clear();
  for (const RunningSeq& s : view_->running) {
    seqs_.push_back(describe(s));
    places_.push_back({.order_key = s.order_key,
                       .num_wanted = s.num_known_tokens - s.num_computed_tokens,
                       .max_blocks = s.max_blocks,
                       .num_preemptions = s.num_preemptions,
                       .table = s.table,
                       .num_shared = s.shared_blocks().size()});
  }
}

// Prefills run oldest first, so a candidate goes before those that came later.
size_t PastFutureAdmission::index_of(const WaitingSeq& candidate) const {
  const auto it =
      std::upper_bound(places_.begin(), places_.end(), candidate.order_key,
                       [](uint64_t key, const Place& place) { return key < place.order_key; });
  return static_cast<size_t>(it - places_.begin());
}

void PastFutureAdmission::count_holder(std::span<const BlockId> blocks) {
  for (const BlockId block : blocks) {
    ++holders_[block];
  }
}

void PastFutureAdmission::join(const WaitingSeq& candidate, size_t index) {
  seqs_.insert(seqs_.begin() + static_cast<ptrdiff_t>(index), candidate_);
  places_.insert(places_.begin() + static_cast<ptrdiff_t>(index),
                 {.order_key = candidate.order_key,
                  .num_wanted = candidate.num_known_tokens - candidate.first_pos,
                  .max_blocks = candidate.max_blocks,
                  .num_preemptions = candidate.num_preemptions,
                  .table = candidate.table,
                  .joined = true,
                  .num_shared = candidate.table.size()});
}

// Shared blocks come first in a table: whoever holds a block holds those before it. Only these
// concern the estimator. The view says which they are among the running; those who join share more.
void PastFutureAdmission::build() {
  holders_.begin(view_->num_blocks);
  for (const Place& place : places_) {
    if (place.joined) {
      count_holder(place.table);
    }
  }
  for (const Place& place : places_) {
    if (!place.joined) {
      size_t n = place.num_shared;
      while (n < place.table.size() && holders_[place.table[n]] > 0) {
        ++n;
      }
      count_holder(place.table.first(n));
    }
  }
  for (size_t i = 0; i < seqs_.size(); ++i) {
    const std::span<const BlockId> table = places_[i].table;
    size_t num_shared = 0;
    while (num_shared < table.size() && holders_[table[num_shared]] > 1) {
      ++num_shared;
    }
    seqs_[i].table = table.first(num_shared);
  }
  estimator_->build(seqs_, {.num_blocks = view_->num_blocks, .block_tokens = view_->block_tokens});
  built_ = true;
}

// ---- how long prefills take

// Prefill positions that a step gives the oldest at least, whoever that is, while so many sequences
// run: all others decode, later steps may have a smaller budget than this one, a share goes to the
// shortest, and a chunk that ends early at a tile border keeps half of its positions and loses at
// most 63 (Scheduler::chunk).
uint32_t PastFutureAdmission::prefill_rate(size_t num_sequences) const {
  const auto others = static_cast<uint32_t>(num_sequences - 1);
  uint32_t budget = view_->max_step_tokens > others ? view_->max_step_tokens - others : 1;
  if (view_->least_prefill_tokens != 0) {
    budget = std::min(budget, view_->least_prefill_tokens);
  }
  budget = least_oldest_first_tokens(budget, view_->short_first_percent);
  const uint32_t n = std::max(1U, std::min(budget, view_->chunk_cap));
  return std::max((n + 1) / 2, n > 63 ? n - 63 : 0);
}

// s_j of everybody if the candidate joins: prefill positions up to its own, oldest first, at the
// smallest rate. True: somebody has another s_j than the estimator was told. Without s_j a long
// prefill ends later than assumed and growths overlap: evictions even with true lengths
// (scheduler.md sec. 4).
bool PastFutureAdmission::set_first_token_steps(const WaitingSeq& candidate, size_t index) {
  const uint32_t rate = prefill_rate(seqs_.size() + 1);
  uint64_t ahead = 0;
  const auto step_after = [&](uint64_t num_positions) {
    ahead += num_positions;
    return static_cast<uint32_t>((ahead + rate - 1) / rate) - 1;
  };
  bool moved = false;
  for (size_t i = 0; i <= seqs_.size(); ++i) {
    if (i == index) {
      candidate_.first_token_step = step_after(candidate.num_known_tokens - candidate.first_pos);
    }
    if (i < seqs_.size() && places_[i].num_wanted > 1) {
      const uint32_t step = step_after(places_[i].num_wanted);
      moved = moved || step != seqs_[i].first_token_step;
      seqs_[i].first_token_step = step;
    }
  }
  return moved;
}

// ---- promises

// A sequence that has yielded as often as it may runs with everybody older up to their last tokens
// without needing another block from it. So admission keeps this true: all that stand up to the
// youngest of these in line fit at full length.
bool PastFutureAdmission::keeps_promises(const WaitingSeq& candidate) const {
  bool promised = candidate.num_preemptions >= kMostPreemptions;
  uint64_t youngest = promised ? candidate.order_key : 0;
  for (const Place& place : places_) {
    if (place.num_preemptions >= kMostPreemptions) {
      promised = true;
      youngest = std::max(youngest, place.order_key);
    }
  }
  if (!promised || candidate.order_key > youngest) {
    return true;
  }
  uint64_t num_blocks = candidate.max_blocks;
  for (const Place& place : places_) {
    num_blocks += place.order_key <= youngest ? place.max_blocks : 0;
  }
  return num_blocks <= view_->num_blocks;
}

// ---- victims

class LeastRecompute final : public VictimPolicy {
 public:
  VictimKey key(const RunningSeq& seq) const override {
    // Blocks that others hold too stay where they are: neither freed nor computed again. Who frees
    // nothing yields last.
    const uint64_t lost = seq.num_exclusive_blocks;
    return {.protection = protection_of(seq),
            .cost = lost == 0 ? std::numeric_limits<uint64_t>::max() : lost};
  }
};

Policy make(std::string_view name, std::unique_ptr<MemoryEstimator> estimator) {
  return {.name = name,
          .order = arrival_order(),
          .admission = std::make_unique<PastFutureAdmission>(std::move(estimator)),
          .victim = std::make_unique<LeastRecompute>()};
}

}  // namespace

std::unique_ptr<AdmissionPolicy> past_future_admission() {
  return std::make_unique<PastFutureAdmission>(moments_estimator());
}
uint64_t protection_of(const RunningSeq& seq) {
  const uint32_t n = std::min(seq.num_preemptions, kMostPreemptions);
  return n < kProtectedAfterPreemptions ? 0U : n;
}

Policy past_future() {
  return make("past_future", moments_estimator());
}
// Admission counts shared blocks once already, so only the order is another one.
Policy prefix_group() {
  Policy policy = make("prefix_group", moments_estimator());
  policy.order = prefix_order();
  return policy;
}
Policy past_future_sampled() {
  return make("past_future_sampled", sampled_estimator());
}

}  // namespace stet::sched
