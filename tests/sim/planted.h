// The machinery around the engine, with at most one planted fault. With Planted::kNone it only
// watches.
#pragma once

#include <algorithm>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "stet/base/clock.h"
#include "stet/executor/backend.h"
#include "stet/executor/fake_backend.h"
#include "stet/kv/kv_cache.h"
#include "stet/sched/policy.h"
#include "tests/sim/world_config.h"

namespace stet::sim {

// What a run exercised; a simulation that never preempts has shown nothing about preemption.
struct Coverage {
  uint64_t steps = 0, tokens = 0, preemptions = 0, cached_tokens = 0, shares = 0, copies = 0,
           replaces = 0, faults = 0;
  uint64_t cancelled = 0, expired = 0, queue_timeouts = 0, aborted = 0, parks = 0,
           finished_by_client = 0, resumes = 0;
  uint64_t refused_full = 0, refused_never = 0, refused_draining = 0, completed = 0;
  uint64_t pins = 0;
  uint64_t followed = 0, late = 0;           // sequences in this state, summed over steps
  uint64_t cut_to_target = 0, at_floor = 0;  // steps

  void add(const Coverage& other) {
    auto* mine = reinterpret_cast<uint64_t*>(this);
    const auto* theirs = reinterpret_cast<const uint64_t*>(&other);
    for (size_t i = 0; i < sizeof(Coverage) / sizeof(uint64_t); ++i) {
      mine[i] += theirs[i];
    }
  }
};

class WatchedBackend final : public executor::Backend {
 public:
  WatchedBackend(executor::FakeBackend* inner, Planted planted, Coverage* coverage)
      : inner_(inner), planted_(planted), coverage_(coverage), info_(inner->info()) {
    if (planted == Planted::kBudgetExceeded) {
      info_.max_step_tokens *= 2;
    }
  }
  const executor::BackendInfo& info() const override { return info_; }

  executor::Ticket submit(const StepBatch& batch) override {
    num_rows_ = batch.rows.size();
    StepBatch changed = batch;
    for (const KvOp& op : batch.kv_ops) {
      coverage_->shares += op.kind == KvOpKind::kShare ? 1 : 0;
      coverage_->copies += op.kind == KvOpKind::kCopy ? 1 : 0;
      coverage_->replaces += op.kind == KvOpKind::kReplace ? 1 : 0;
    }
    std::erase_if(changed.kv_ops, [&](const KvOp& op) {
      return (planted_ == Planted::kCopyDropped && op.kind == KvOpKind::kCopy) ||
             (planted_ == Planted::kReplaceDropped && op.kind == KvOpKind::kReplace) ||
             (planted_ == Planted::kDestroyDropped && op.kind == KvOpKind::kDestroy);
    });
    return inner_->submit(changed);
  }

  void wait(executor::Ticket ticket, StepResult* result) override {
    inner_->wait(ticket, result);
    if (planted_ == Planted::kTargetsForgotten) {
      result->step_us = 0;  // every step seems to fit
    }
    coverage_->faults += result->faults.size();
    if (planted_ == Planted::kFaultHidden) {
      for (const RowFault& fault : result->faults) {
        result->sampled.push_back({.seq = fault.seq, .token_id = 1});
      }
      result->faults.clear();
    }
    if (planted_ == Planted::kTokenFromCompany && num_rows_ > 2) {
      for (SampledToken& token : result->sampled) {
        token.token_id ^= 1;
      }
    }
  }

 private:
  executor::FakeBackend* const inner_;
  const Planted planted_;
  Coverage* const coverage_;
  executor::BackendInfo info_;
  size_t num_rows_ = 0;
};

class PlantedKvCache final : public kv::KvCache {
 public:
  // `pinning` counts pins; nullptr: there are none.
  PlantedKvCache(const kv::KvOptions& options, Planted planted, const Clock* clock,
                 Coverage* pinning)
      : KvCache(options), planted_(planted), clock_(clock), pinning_(pinning) {}

  void release(SeqId seq) override {
    if (planted_ == Planted::kReleaseForgotten && num_blocks_of(seq) > 0 && ++calls_ % 3 == 0) {
      return;
    }
    if (pinning_ != nullptr && ++releases_ % 3 == 0) {
      const uint64_t now_us = clock_->now_us();
      const kv::PinTerms terms = {.now_us = now_us,
                                  .until_us = now_us + 1 + seq.v % 40 * 500,
                                  .value_us = 1.0 + static_cast<double>(seq.v % 7)};
      pinning_->pins += pin(seq, terms) != kv::PinId{} ? 1 : 0;
    }
    KvCache::release(seq);
  }
  void publish(SeqId seq, std::span<const uint32_t> token_ids) override {
    if (planted_ == Planted::kPublishedTooEarly && num_blocks_of(seq) > 0) {
      const auto reach =
          std::min<size_t>(token_ids.size(), size_t{num_blocks_of(seq)} * block_tokens());
      return publish_up_to(entry(seq), token_ids, static_cast<uint32_t>(reach));
    }
    KvCache::publish(seq, token_ids);
  }
  bool computing(uint64_t key) const override {
    if (KvCache::computing(key) && planted_ == Planted::kDeadLeaderFollowed) {
      ever_computed_.insert(key);
    }
    return KvCache::computing(key) || ever_computed_.count(key) != 0;
  }
  void complete_step(uint64_t step) override {
    KvCache::complete_step(step);
    expire_pins(clock_->now_us());
    if (++steps_ != 5) {
      return;
    }
    for (uint32_t i = 0; i < num_blocks(); ++i) {
      if (pool().refs(BlockId{i}) > 0) {
        if (planted_ == Planted::kReferenceLeaked) {
          pool().add_ref(BlockId{i});
        } else if (planted_ == Planted::kPinLeaked && pool().published(BlockId{i})) {
          pool().add_pin(BlockId{i});
        } else if (planted_ == Planted::kDoubleFree) {
          pool().release(BlockId{i}, 0);
        }
        return;
      }
    }
  }

 private:
  const Planted planted_;
  const Clock* const clock_;
  Coverage* const pinning_;
  mutable std::set<uint64_t> ever_computed_;
  uint64_t calls_ = 0, steps_ = 0, releases_ = 0;
};

// Shows the real admission a smaller prompt, or a faster machine.
class PlantedAdmission final : public sched::AdmissionPolicy {
 public:
  PlantedAdmission(std::unique_ptr<sched::AdmissionPolicy> inner, Planted planted)
      : inner_(std::move(inner)), planted_(planted) {}

  void begin(const sched::SchedView& view) override {
    view_ = view;
    chunk_ = std::min(view.chunk_cap, view.max_step_tokens);
    if (planted_ == Planted::kPrefillTimeIgnored) {
      view_.max_step_tokens = view_.chunk_cap = 1U << 30;
      view_.least_prefill_tokens = view_.short_first_percent = 0;
    }
    if (planted_ == Planted::kSmallBudgetsForgotten) {
      view_.least_prefill_tokens = view_.short_first_percent = 0;
    }
    if (planted_ == Planted::kPreemptionsForgotten) {
      running_.assign(view.running.begin(), view.running.end());
      for (sched::RunningSeq& s : running_) {
        s.num_preemptions = 0;
      }
      view_.running = running_;
    }
    inner_->begin(view_);
  }
  sched::Verdict fits(const sched::WaitingSeq& candidate, const sched::PoolState& pool) override {
    return inner_->fits(shown(candidate), pool);
  }
  void admitted(const sched::WaitingSeq& candidate) override { inner_->admitted(shown(candidate)); }
  bool predicts() const override { return inner_->predicts(); }
  uint64_t forecast_peak(const sched::SchedView& view) override {
    return inner_->forecast_peak(view);
  }

 private:
  sched::WaitingSeq shown(sched::WaitingSeq candidate) const {
    if (planted_ == Planted::kFirstChunkAdmission) {
      candidate.num_known_tokens =
          std::min(candidate.num_known_tokens, candidate.first_pos + chunk_);
    }
    if (planted_ == Planted::kPreemptionsForgotten) {
      candidate.num_preemptions = 0;
    }
    return candidate;
  }
  const std::unique_ptr<sched::AdmissionPolicy> inner_;
  const Planted planted_;
  sched::SchedView view_;
  std::vector<sched::RunningSeq> running_;
  uint32_t chunk_ = 0;
};

}  // namespace stet::sim
