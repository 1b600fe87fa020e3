#include "src/sim/forecast.h"

#include <algorithm>
#include <map>
#include <utility>

#include "stet/sched/output_lengths.h"
#include "stet/sched/policy.h"

namespace stet::sim {

uint64_t true_peak(std::span<const sched::SeqMemory> seqs, const sched::PoolShape& pool) {
  uint32_t last_step = 0;
  std::map<BlockId, uint32_t> shared;  // block -> the last step in which a holder is alive
  for (const sched::SeqMemory& s : seqs) {
    const uint32_t last = sched::last_step_of(s, s.known_outputs);
    last_step = std::max(last_step, last);
    for (const BlockId block : s.table) {
      uint32_t& until = shared[block];
      until = std::max(until, last);
    }
  }
  std::vector<uint64_t> blocks(last_step + 1, 0);
  for (const sched::SeqMemory& s : seqs) {
    const uint32_t last = sched::last_step_of(s, s.known_outputs);
    for (uint32_t step = 0; step <= last; ++step) {
      const uint64_t grown = step > s.first_token_step ? step - s.first_token_step : 0;
      blocks[step] +=
          sched::blocks_for(s.num_known_tokens + grown, pool.block_tokens) - s.table.size();
    }
  }
  for (const auto& [block, until] : shared) {
    for (uint32_t step = 0; step <= until; ++step) {
      ++blocks[step];
    }
  }
  return *std::max_element(blocks.begin(), blocks.end()) * pool.block_tokens;
}

ForecastScore::ForecastScore(const Trace& trace, uint32_t every)
    : trace_(trace),
      every_(every),
      moments_(sched::moments_estimator()),
      sampled_(sched::sampled_estimator()) {}

void ForecastScore::on_step(const engine::SteppedEngine& engine, const SimBackend& backend,
                            uint64_t now_us) {
  if (engine.last_plan().admitted.empty() || num_admitting_++ % every_ != 0) {
    return;
  }
  gather(engine);
  set_first_token_steps(engine.last_view());
  keep_shared_blocks(engine);
  const sched::PoolShape pool = {.num_blocks = engine.kv().num_blocks(),
                                 .block_tokens = engine.kv().block_tokens()};
  ForecastSample& sample = samples_.emplace_back();
  sample.at_us = now_us;
  sample.num_seqs = static_cast<uint32_t>(members_.size());
  sample.used_tokens = uint64_t{engine.kv().counts().used()} * pool.block_tokens;
  describe(engine, backend, false);
  moments_->build(seqs_, pool);
  sample.moments = moments_->peak();
  sampled_->build(seqs_, pool);
  sample.sampled = sampled_->peak();
  describe(engine, backend, true);
  moments_->build(seqs_, pool);
  sample.moments_true_lengths = moments_->peak();
  sample.true_peak = true_peak(seqs_, pool);
}

// A plan that admits preempts nobody: the batch is who ran and who joins.
void ForecastScore::gather(const engine::SteppedEngine& engine) {
  members_.clear();
  const auto add = [&](const auto& s, uint32_t first_pos) {
    members_.push_back({.order_key = s.order_key,
                        .num_wanted = s.num_known_tokens - first_pos,
                        .output = s.output,
                        .memory = {.seq = s.seq, .num_known_tokens = s.num_known_tokens}});
  };
  for (const sched::RunningSeq& s : engine.last_view().running) {
    add(s, s.num_computed_tokens);
  }
  for (const sched::WaitingSeq& s : engine.last_view().waiting) {
    const std::vector<SeqId>& admitted = engine.last_plan().admitted;
    if (std::find(admitted.begin(), admitted.end(), s.seq) != admitted.end()) {
      add(s, s.first_pos);
    }
  }
  std::stable_sort(members_.begin(), members_.end(),
                   [](const Member& a, const Member& b) { return a.order_key < b.order_key; });
}

// All others decode, and what is left of a step's budget goes to the oldest prefill.
void ForecastScore::set_first_token_steps(const sched::SchedView& view) {
  const auto others = static_cast<uint32_t>(members_.size() - 1);
  const uint32_t budget = view.max_step_tokens > others ? view.max_step_tokens - others : 1;
  const uint32_t rate = std::max(1U, std::min(budget, view.chunk_cap));
  uint64_t ahead = 0;
  for (Member& m : members_) {
    if (m.num_wanted > 1) {
      ahead += m.num_wanted;
      m.memory.first_token_step = static_cast<uint32_t>((ahead + rate - 1) / rate) - 1;
    }
  }
}

void ForecastScore::keep_shared_blocks(const engine::SteppedEngine& engine) {
  if (!engine.kv().prefix_cache()) {
    return;
  }
  num_holders_.assign(engine.kv().num_blocks(), 0);
  for (const Member& m : members_) {
    for (const BlockId block : engine.kv().table(m.memory.seq)) {
      ++num_holders_[block.v];
    }
  }
  for (Member& m : members_) {
    const std::span<const BlockId> table = engine.kv().table(m.memory.seq);
    size_t num_shared = 0;  // shared blocks come first
    while (num_shared < table.size() && num_holders_[table[num_shared].v] > 1) {
      ++num_shared;
    }
    m.memory.table = table.first(num_shared);
  }
}

void ForecastScore::describe(const engine::SteppedEngine& engine, const SimBackend& backend,
                             bool true_lengths) {
  const sched::Learned& learned = *engine.last_view().learned;
  seqs_.clear();
  for (const Member& m : members_) {
    sched::SeqMemory& s = seqs_.emplace_back(m.memory);
    s.num_outputs = m.output.num_outputs;
    s.max_outputs = std::max(m.output.max_tokens, m.output.num_outputs + 1);
    if (true_lengths) {
      const uint32_t outputs = trace_.requests[backend.request_of(s.seq)].output_tokens;
      s.known_outputs = std::min(outputs, s.max_outputs);
    } else {
      s.lengths = &learned.lengths.curve(m.output.length_class);
    }
  }
}

}  // namespace stet::sim
