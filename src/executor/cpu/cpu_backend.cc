#include "stet/executor/cpu_backend.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/executor/cpu/forward_pass.h"
#include "src/executor/cpu/row_groups.h"
#include "stet/base/check.h"
#include "stet/base/thread_checker.h"
#include "stet/sampling/sequence_sampler.h"

namespace stet::executor {
namespace {

using sampling::Draw;
using sampling::SamplerScratch;
using sampling::SequenceSampler;

uint32_t sample_rows_per_pass(uint32_t max_step_tokens, uint32_t max_sequences) {
  return std::min({max_step_tokens, max_sequences, kMaxSampleRowsPerPass});
}

class CpuBackendImpl final : public CpuBackend {
 public:
  CpuBackendImpl(const CpuBackendOptions& options, const kernels::KernelTable& table)
      : options_(options),
        model_(*options.model),
        table_(table),
        pool_(options.num_threads, kernels::set_float_environment),
        pass_rows_(sample_rows_per_pass(options.max_step_tokens, options.max_sequences)) {
    info_.name = "cpu";
    info_.device = std::string(table.name) + ", " + std::to_string(options.num_threads) +
                   (options.num_threads == 1 ? " thread" : " threads");
    info_.num_blocks = options.num_blocks;
    info_.block_tokens = options.block_tokens;
    info_.vocab_size = model_.hyper.vocab_size;
    info_.max_model_len = model_.hyper.context_len;
    info_.max_step_tokens = options.max_step_tokens;
    info_.max_sequences = options.max_sequences;
  }

  Status open() {
    STET_ASSIGN_OR_RETURN(kv_, open_kv());
    STET_ASSIGN_OR_RETURN(pass_, ForwardPass::create(model_, table_, options_.block_tokens,
                                                     options_.max_step_tokens, pass_rows_, &pool_));
    for (uint32_t t = 0; t < options_.num_threads; ++t) {
      scratch_.emplace_back(model_.hyper.vocab_size);
    }
    draws_.resize(pass_rows_);
    drawn_.resize(pass_rows_);
    samplers_.reserve(options_.max_sequences);
    runs_.reserve(options_.max_step_tokens);
    sample_rows_.reserve(options_.max_step_tokens);
    sample_runs_.reserve(options_.max_step_tokens);
    row_samplers_.reserve(pass_rows_);
    return {};
  }

  const BackendInfo& info() const override { return info_; }
  Ticket submit(const StepBatch& batch) override;
  void wait(Ticket ticket, StepResult* result) override;

  StepTimings timings() const override {
    StepTimings timings = totals_;
    timings.verb_ns = pass_->timer().ns();
    return timings;
  }
  void reset_timings() override {
    totals_ = {};
    pass_->timer().reset();
  }
  std::span<std::byte> kv_block(BlockId block) override { return kv_->block(block); }
  KvMemoryStats kv_stats() const override { return kv_->stats(); }

 private:
  struct InFlight {
    bool busy = false;
    StepResult result;
  };

  Result<std::unique_ptr<KvMemory>> open_kv() const;
  void create_sequences(const StepBatch& batch);
  void apply_kv_ops(const StepBatch& batch);
  void find_rows(const StepBatch& batch);
  void report_faults(const StepBatch& batch, StepResult* result) const;
  void sample(const StepBatch& batch, StepResult* result);
  void sample_pass(const StepBatch& batch, std::span<const uint32_t> rows,
                   std::span<const uint32_t> runs);

  const CpuBackendOptions options_;
  const model::Model& model_;
  const kernels::KernelTable& table_;
  BackendInfo info_;
  ThreadChecker thread_;
  ThreadPool pool_;
  std::unique_ptr<KvMemory> kv_;
  std::unique_ptr<ForwardPass> pass_;
  std::unordered_map<SeqId, std::unique_ptr<SequenceSampler>> samplers_;
  std::vector<SamplerScratch> scratch_;  // per thread

  // Reused by every step.
  std::vector<RowRun> runs_;  // one per BatchRow
  RowGroups groups_;
  std::vector<uint32_t> sample_rows_;  // row of the step
  std::vector<uint32_t> sample_runs_;  // its BatchRow
  std::vector<SequenceSampler*> row_samplers_;
  const uint32_t pass_rows_;
  std::vector<Draw> draws_;     // of one pass
  std::vector<uint8_t> drawn_;  // false: a fault
  InFlight in_flight_[2];
  StepTimings totals_;
};

Result<std::unique_ptr<KvMemory>> CpuBackendImpl::open_kv() const {
  const kernels::KvTileLayout layout = model_.kv_layout(options_.block_tokens);
  if (options_.kv_mode == KvMode::kPaged) {
    return open_paged_kv_memory(
        {.layout = layout, .num_blocks = options_.num_blocks, .poison = options_.poison_kv});
  }
  const uint32_t context_blocks =
      (model_.hyper.context_len + options_.block_tokens - 1) / options_.block_tokens;
  return open_virtual_kv_memory(
      {.layout = layout,
       .num_blocks = options_.num_blocks,
       .max_sequence_blocks = context_blocks,
       .poison = options_.poison_kv,
       .guard = options_.guard_kv,
       .prefault_threads = options_.prefault_kv ? options_.num_threads : 0,
       .max_maps = options_.kv_max_maps});
}

Ticket CpuBackendImpl::submit(const StepBatch& batch) {
  thread_.check();
  const auto begin = std::chrono::steady_clock::now();
  kernels::set_float_environment();
  InFlight& slot = in_flight_[batch.step % 2];
  STET_CHECK(!slot.busy, "at most two consecutive steps in flight");
  slot.busy = true;
  slot.result.clear();
  slot.result.step = batch.step;

  VerbTimer& timer = pass_->timer();
  timer.start();
  create_sequences(batch);
  apply_kv_ops(batch);
  find_rows(batch);
  groups_.find(batch, runs_);
  timer.mark(Verb::kKvOps);
  if (!batch.rows.empty()) {
    pass_->run_layers(batch.token_ids, runs_, groups_.groups());
    report_faults(batch, &slot.result);
    sample(batch, &slot.result);
  }
  const auto elapsed = std::chrono::steady_clock::now() - begin;
  slot.result.step_us = static_cast<uint64_t>(elapsed / std::chrono::microseconds(1));
  totals_.num_steps += 1;
  totals_.num_rows += batch.token_ids.size();
  totals_.num_grouped_rows += groups_.num_rows();
  totals_.total_ns += static_cast<uint64_t>(elapsed / std::chrono::nanoseconds(1));
  return {batch.step};
}

void CpuBackendImpl::wait(Ticket ticket, StepResult* result) {
  thread_.check();
  InFlight& slot = in_flight_[ticket.step % 2];
  STET_CHECK(slot.busy && slot.result.step == ticket.step, "a ticket is waited for once");
  slot.busy = false;
  std::swap(*result, slot.result);  // both keep their capacity
}

void CpuBackendImpl::create_sequences(const StepBatch& batch) {
  for (const NewSequence& record : batch.new_sequences) {
    STET_CHECK(samplers_.size() < options_.max_sequences, "no more sequences than max_sequences");
    kv_->create(record.seq, record.max_blocks);
    samplers_.emplace(record.seq,
                      std::make_unique<SequenceSampler>(record, model_.hyper.vocab_size));
  }
}

void CpuBackendImpl::apply_kv_ops(const StepBatch& batch) {
  for (const KvOp& op : batch.kv_ops) {
    STET_CHECK(op.group == 0, "one KV group");
    STET_CHECK(uint64_t{op.slot_offset} + op.num_slots <= batch.kv_slots.size(),
               "slots of the batch");
    const std::span<const BlockId> slots(batch.kv_slots.data() + op.slot_offset, op.num_slots);
    switch (op.kind) {
      case KvOpKind::kAppend: kv_->append(op.seq, slots); break;
      case KvOpKind::kShare: kv_->share(op.seq, slots); break;
      case KvOpKind::kTruncate: kv_->truncate(op.seq, op.first); break;
      case KvOpKind::kDropFront: kv_->drop_front(op.seq, op.first); break;
      case KvOpKind::kDestroy:
        kv_->destroy(op.seq);
        samplers_.erase(op.seq);
        break;
      case KvOpKind::kPrivatise:
        STET_CHECK(slots.size() == 1, "privatise takes one slot");
        kv_->privatise(op.seq, op.first, slots[0]);
        break;
      case KvOpKind::kReplace:
        STET_CHECK(slots.size() == 1, "replace takes one slot");
        kv_->replace(op.seq, op.first, slots[0]);
        break;
      case KvOpKind::kCopy:
        STET_CHECK(slots.size() == 2, "copy takes two slots");
        kv_->copy(slots[0], slots[1]);
        break;
    }
  }
}

void CpuBackendImpl::find_rows(const StepBatch& batch) {
  runs_.clear();
  sample_rows_.clear();
  sample_runs_.clear();
  STET_CHECK(batch.token_ids.size() <= options_.max_step_tokens,
             "no more rows than scratch was sized for");
  uint32_t first_row = 0;
  for (uint32_t i = 0; i < batch.rows.size(); ++i) {
    const BatchRow& row = batch.rows[i];
    const RowRun run{.kv = kv_->view(row.seq),
                     .first_row = first_row,
                     .num_rows = row.n_pos,
                     .first_pos = row.first_pos};
    STET_CHECK(row.n_pos >= 1 && row.token_offset == first_row, "rows and token ids in one order");
    const uint64_t end_pos = uint64_t{row.first_pos} + row.n_pos;
    STET_CHECK(end_pos <= model_.hyper.context_len, "positions within the model's context");
    STET_CHECK(end_pos <= uint64_t{run.kv.num_blocks} * options_.block_tokens,
               "positions have their blocks");
    runs_.push_back(run);
    first_row += row.n_pos;
    if (row.sample) {
      sample_rows_.push_back(first_row - 1);
      sample_runs_.push_back(i);
    }
  }
  STET_CHECK(first_row == batch.token_ids.size(), "every token belongs to a row");
  for (uint32_t id : batch.token_ids) {
    STET_CHECK(id < model_.hyper.vocab_size, "token ids within the vocabulary");
  }
}

void CpuBackendImpl::report_faults(const StepBatch& batch, StepResult* result) const {
  for (size_t i = 0; i < runs_.size(); ++i) {
    for (uint32_t p = 0; p < runs_[i].num_rows; ++p) {
      const int32_t layer = pass_->faults().layer(runs_[i].first_row + p);
      if (layer != RowFaults::kNone) {
        result->faults.push_back(
            {.seq = batch.rows[i].seq, .layer = layer, .position = runs_[i].first_pos + p});
        break;
      }
    }
  }
}

void CpuBackendImpl::sample(const StepBatch& batch, StepResult* result) {
  // Rows of a faulty sequence do not sample.
  size_t kept = 0;
  for (size_t i = 0; i < sample_rows_.size(); ++i) {
    const SeqId seq = batch.rows[sample_runs_[i]].seq;
    const bool faulty = std::any_of(result->faults.begin(), result->faults.end(),
                                    [seq](const RowFault& fault) { return fault.seq == seq; });
    if (!faulty) {
      sample_rows_[kept] = sample_rows_[i];
      sample_runs_[kept++] = sample_runs_[i];
    }
  }
  for (size_t done = 0; done < kept; done += pass_rows_) {
    const size_t num = std::min<size_t>(pass_rows_, kept - done);
    const std::span<const uint32_t> runs(sample_runs_.data() + done, num);
    sample_pass(batch, {sample_rows_.data() + done, num}, runs);
    for (size_t i = 0; i < num; ++i) {
      const BatchRow& row = batch.rows[runs[i]];
      if (drawn_[i] == 0) {
        result->faults.push_back({.seq = row.seq,
                                  .layer = static_cast<int32_t>(model_.hyper.num_layers),
                                  .position = row.first_pos + row.n_pos - 1});
        continue;
      }
      const Draw& draw = draws_[i];
      result->sampled.push_back({.seq = row.seq,
                                 .token_id = draw.token_id,
                                 .logprob = draw.logprob,
                                 .rank = draw.rank,
                                 .top_offset = static_cast<uint32_t>(result->top.size()),
                                 .num_top = draw.num_top});
      result->top.insert(result->top.end(), draw.top, draw.top + draw.num_top);
    }
  }
}

void CpuBackendImpl::sample_pass(const StepBatch& batch, std::span<const uint32_t> rows,
                                 std::span<const uint32_t> runs) {
  pass_->run_head(rows);
  row_samplers_.clear();
  for (uint32_t run : runs) {
    const auto it = samplers_.find(batch.rows[run].seq);
    STET_CHECK(it != samplers_.end(), "a sampling row belongs to a sequence");
    row_samplers_.push_back(it->second.get());
  }
  pool_.run(
      static_cast<uint32_t>(rows.size()), 1, [&](uint32_t thread, uint32_t begin, uint32_t end) {
        for (uint32_t i = begin; i < end; ++i) {
          // A non-finite row of the last norm counts as zeros: it is a fault and draws nothing.
          drawn_[i] =
              pass_->faults().layer(rows[i]) == RowFaults::kNone &&
              row_samplers_[i]->sample(table_, pass_->logits(i), &scratch_[thread], &draws_[i]);
        }
      });
  pass_->timer().mark(Verb::kSample);
}

Status check_options(const CpuBackendOptions& o) {
  auto refuse = [](const std::string& what, uint64_t found) {
    return invalid_argument(what + ", got " + std::to_string(found));
  };
  if (o.model == nullptr) {
    return invalid_argument("the CPU backend needs a model");
  }
  if (o.num_threads < 1 || o.num_threads > kMaxThreads) {
    return refuse("num_threads must be 1.." + std::to_string(kMaxThreads), o.num_threads);
  }
  if (o.block_tokens == 0 || o.block_tokens % kernels::kTile != 0) {
    return refuse("block_tokens must be a multiple of 64", o.block_tokens);
  }
  if (o.num_blocks == 0) {
    return refuse("num_blocks must be at least 1", o.num_blocks);
  }
  if (o.max_step_tokens == 0) {
    return refuse("max_step_tokens must be at least 1", o.max_step_tokens);
  }
  if (o.max_sequences == 0) {
    return refuse("max_sequences must be at least 1", o.max_sequences);
  }
  return {};
}

}  // namespace

const char* verb_name(Verb verb) {
  static constexpr const char* kNames[kNumVerbs] = {"kv_ops", "embed",     "norm",     "qkv",
                                                    "rope",   "attention", "attn_out", "gate_up",
                                                    "gate",   "down",      "head",     "sample"};
  return kNames[static_cast<size_t>(verb)];
}

uint64_t CpuBackend::scratch_bytes(const model::HyperParams& hyper, uint32_t num_threads,
                                   uint32_t max_step_tokens, uint32_t max_sequences) {
  return ForwardPass::bytes(hyper, num_threads, max_step_tokens,
                            sample_rows_per_pass(max_step_tokens, max_sequences)) +
         num_threads * SamplerScratch::bytes(hyper.vocab_size);
}

Result<std::unique_ptr<CpuBackend>> CpuBackend::create(const CpuBackendOptions& options) {
  STET_RETURN_IF_ERROR(check_options(options));
  const kernels::KernelTable& table =
      options.table != nullptr ? *options.table : kernels::best_table();
  auto backend = std::make_unique<CpuBackendImpl>(options, table);
  STET_RETURN_IF_ERROR(backend->open());
  return std::unique_ptr<CpuBackend>(std::move(backend));
}

}  // namespace stet::executor
