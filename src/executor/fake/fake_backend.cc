#include "stet/executor/fake_backend.h"

#include <algorithm>

#include "src/executor/fake/fake_sequence.h"
#include "stet/base/check.h"

namespace stet::executor {
namespace {
constexpr size_t kMaxInFlight = 2;
}

FakeBackend::FakeBackend(FakeOptions options)
    : options_(std::move(options)),
      model_(options_.seed, options_.vocab_size, options_.fault_period),
      info_{.name = "fake",
            .device = "hash",
            .num_blocks = options_.num_blocks,
            .block_tokens = options_.block_tokens,
            .vocab_size = options_.vocab_size,
            .max_model_len = options_.max_model_len,
            .max_step_tokens = options_.max_step_tokens,
            .max_sequences = options_.max_sequences},
      content_(static_cast<size_t>(options_.num_blocks) * options_.block_tokens, 0),
      num_maps_(options_.num_blocks, 0) {}

FakeBackend::~FakeBackend() = default;

void FakeBackend::violation(const std::string& what) const {
  if (!options_.on_violation) {
    check_failed(__FILE__, __LINE__, "backend contract", what.c_str());
  }
  options_.on_violation(what);
}

FakeBackend::FakeSequence* FakeBackend::find(SeqId seq, const char* what) {
  const auto it = sequences_.find(seq);
  if (it == sequences_.end()) {
    violation(std::string(what) + " for sequence " + std::to_string(seq.v) +
              ", which does not exist");
    return nullptr;
  }
  return it->second.get();
}

Ticket FakeBackend::submit(const StepBatch& batch) {
  if (in_flight_.size() >= kMaxInFlight) {
    violation("a third step in flight");
  }
  StepResult& result = in_flight_.emplace_back();
  result.step = batch.step;
  for (const NewSequence& record : batch.new_sequences) {
    create(record);
  }
  for (const KvOp& op : batch.kv_ops) {
    if (uint64_t{op.slot_offset} + op.num_slots > batch.kv_slots.size()) {
      violation("an operation points outside kv_slots");
      continue;
    }
    apply(op,
          std::span(batch.kv_slots).subspan(op.num_slots == 0 ? 0 : op.slot_offset, op.num_slots));
  }
  check_groups(batch);
  for (const PrefixGroup& group : batch.groups) {
    num_grouped_rows_ += group.members.size();
  }
  uint64_t num_positions = 0;
  for (const BatchRow& row : batch.rows) {
    num_positions += row.n_pos;
    if (uint64_t{row.token_offset} + row.n_pos > batch.token_ids.size() || row.n_pos == 0) {
      violation("a row points outside token_ids, or is empty");
      continue;
    }
    compute(row, std::span(batch.token_ids).subspan(row.token_offset, row.n_pos), &result);
  }
  if (num_positions > options_.max_step_tokens) {
    violation("a step of " + std::to_string(num_positions) +
              " positions, the scratch is sized for " + std::to_string(options_.max_step_tokens));
  }
  num_positions_computed_ += num_positions;
  result.step_us = options_.step_us + num_positions * options_.position_us;
  return {batch.step};
}

void FakeBackend::wait(Ticket ticket, StepResult* result) {
  if (in_flight_.empty() || in_flight_.front().step != ticket.step) {
    violation("steps are waited for in the order of submission");
    return;
  }
  *result = std::move(in_flight_.front());
  in_flight_.pop_front();
  if (options_.clock != nullptr) {
    options_.clock->advance_us(result->step_us);
  }
}

// ---- sequences and tables

void FakeBackend::create(const NewSequence& record) {
  auto s = std::make_unique<FakeSequence>();
  s->record = record;
  s->token_ids = record.prompt_token_ids;
  s->token_ids.insert(s->token_ids.end(), record.output_token_ids.begin(),
                      record.output_token_ids.end());
  if (s->token_ids.empty()) {
    violation("a sequence without tokens");
  }
  uint64_t c = model_.chain_start();
  for (uint32_t i = 0; i < s->token_ids.size(); ++i) {
    c = model_.chain(c, s->token_ids[i], i);
    s->chains.push_back(c);
  }
  if (!sequences_.emplace(record.seq, std::move(s)).second) {
    violation("sequence " + std::to_string(record.seq.v) + " is created twice");
  }
  if (sequences_.size() > options_.max_sequences) {
    violation("more sequences than max_sequences");
  }
}

void FakeBackend::apply(const KvOp& op, std::span<const BlockId> slots) {
  for (BlockId slot : slots) {
    if (slot.v >= options_.num_blocks) {
      return violation("a slot outside the pool");
    }
  }
  if (op.kind == KvOpKind::kCopy) {
    return copy(slots[0], slots[1]);
  }
  FakeSequence* s = find(op.seq, "an operation");
  if (s == nullptr) {
    return;
  }
  switch (op.kind) {
    case KvOpKind::kAppend: return append(*s, slots);
    case KvOpKind::kShare:
      for (BlockId slot : slots) {
        s->table.push_back({slot, true});
        ++num_maps_[slot.v];
      }
      return;
    case KvOpKind::kPrivatise: {
      copy(s->table.at(op.first).slot, slots[0]);
      unmap(s->table[op.first]);
      s->table[op.first] = {slots[0], false};
      ++num_maps_[slots[0].v];
      return;
    }
    case KvOpKind::kReplace: return replace(*s, op.first, slots[0]);
    case KvOpKind::kTruncate:
      for (; s->table.size() > op.first; s->table.pop_back()) {
        unmap(s->table.back());
      }
      return;
    case KvOpKind::kDestroy:
      for (const TableEntry& entry : s->table) {
        unmap(entry);
      }
      sequences_.erase(op.seq);
      return;
    case KvOpKind::kDropFront:
    case KvOpKind::kCopy: return violation("the fake model has no sliding window");
  }
}

// A recycled slot is poisoned: nothing of its past may be read.
void FakeBackend::append(FakeSequence& s, std::span<const BlockId> slots) {
  for (BlockId slot : slots) {
    if (num_maps_[slot.v] != 0) {
      violation("slot " + std::to_string(slot.v) + " is appended while another table holds it");
    }
    const auto first = content_.begin() + static_cast<ptrdiff_t>(slot.v) * options_.block_tokens;
    std::fill(first, first + options_.block_tokens, 0);
    s.table.push_back({slot, false});
    ++num_maps_[slot.v];
  }
}

void FakeBackend::replace(FakeSequence& s, uint32_t index, BlockId slot) {
  if (index >= s.table.size()) {
    return violation("a replaced block lies outside the table");
  }
  const uint32_t n = options_.block_tokens;
  if (!std::equal(content_.begin() + static_cast<ptrdiff_t>(slot.v) * n,
                  content_.begin() + static_cast<ptrdiff_t>(slot.v + 1) * n,
                  content_.begin() + static_cast<ptrdiff_t>(s.table[index].slot.v) * n)) {
    violation("a block is replaced by one with other content");
  }
  unmap(s.table[index]);
  s.table[index] = {slot, true};
  ++num_maps_[slot.v];
}

void FakeBackend::copy(BlockId from, BlockId to) {
  const auto n = static_cast<ptrdiff_t>(options_.block_tokens);
  std::copy_n(content_.begin() + from.v * n, n, content_.begin() + to.v * n);
}

void FakeBackend::unmap(const TableEntry& entry) {
  --num_maps_[entry.slot.v];
}

// ---- rows

uint64_t* FakeBackend::cell(const FakeSequence& s, uint32_t position) {
  const BlockId slot = s.table.at(position / options_.block_tokens).slot;
  return &content_[static_cast<size_t>(slot.v) * options_.block_tokens +
                   position % options_.block_tokens];
}

bool FakeBackend::check_row(const FakeSequence& s, const BatchRow& row,
                            std::span<const uint32_t> token_ids) const {
  const std::string name =
      "sequence " + std::to_string(row.seq.v) + " at " + std::to_string(row.first_pos);
  const uint32_t end = row.first_pos + row.n_pos;
  if (end > s.token_ids.size() || end > s.table.size() * options_.block_tokens) {
    violation(name + ": a row beyond its tokens or its blocks");
    return false;
  }
  if (!std::equal(token_ids.begin(), token_ids.end(), s.token_ids.begin() + row.first_pos)) {
    violation(name + ": the row's tokens are not the sequence's");
  }
  if (s.started && row.first_pos != s.next_pos) {
    violation(name + ": rows of a sequence follow each other without gap");
  }
  if (row.sample && end != s.token_ids.size()) {
    violation(name + ": sampling before its last known token");
  }
  if (s.faulted) {
    violation(name + ": a faulty sequence goes on");
  }
  return true;
}

void FakeBackend::check_reads(const FakeSequence& s, uint32_t num_positions) const {
  const uint32_t n = options_.block_tokens;
  for (uint32_t start = 0; start < num_positions; start += n) {
    const uint32_t count = std::min(n, num_positions - start);
    const auto held = content_.begin() + static_cast<ptrdiff_t>(s.table[start / n].slot.v) * n;
    if (!std::equal(held, held + count, s.chains.begin() + start)) {
      violation("sequence " + std::to_string(s.record.seq.v) +
                " reads foreign or missing KV in block " + std::to_string(start / n));
      return;
    }
  }
}

bool FakeBackend::write_position(FakeSequence& s, uint32_t position) {
  const TableEntry& entry = s.table[position / options_.block_tokens];
  if (entry.read_only || num_maps_[entry.slot.v] != 1) {
    violation("sequence " + std::to_string(s.record.seq.v) + " writes a shared block");
  }
  *cell(s, position) = s.chains[position];
  return !model_.faulty(s.chains[position]);
}

void FakeBackend::compute(const BatchRow& row, std::span<const uint32_t> token_ids,
                          StepResult* result) {
  FakeSequence* s = find(row.seq, "a row");
  if (s == nullptr || !check_row(*s, row, token_ids)) {
    return;
  }
  check_reads(*s, row.first_pos);
  s->started = true;
  s->next_pos = row.first_pos + row.n_pos;
  for (uint32_t position = row.first_pos; position < s->next_pos; ++position) {
    if (!write_position(*s, position)) {
      s->faulted = true;
      result->faults.push_back({row.seq, 0, position});
      return;
    }
  }
  if (row.sample) {
    sample(*s, result);
  }
}

void FakeBackend::sample(FakeSequence& s, StepResult* result) const {
  const auto output_pos =
      static_cast<uint32_t>(s.token_ids.size() - s.record.prompt_token_ids.size());
  const SamplingParams& sampling = s.record.sampling;
  const uint32_t token_id = model_.sample(s.chains.back(), sampling, s.record.choice, output_pos);
  SampledToken token{.seq = s.record.seq,
                     .token_id = token_id,
                     .top_offset = static_cast<uint32_t>(result->top.size())};
  if (sampling.num_logprobs.has_value()) {
    token.logprob = -0.25f * static_cast<float>(1 + token_id % 8);
    token.rank = 1 + token_id % 8;
    token.num_top = *sampling.num_logprobs;
    for (uint32_t i = 0; i < token.num_top; ++i) {
      result->top.push_back(
          {(token_id + i) % options_.vocab_size, -0.25f * static_cast<float>(i + 1)});
    }
  }
  result->sampled.push_back(token);
  s.chains.push_back(
      model_.chain(s.chains.back(), token_id, static_cast<uint32_t>(s.token_ids.size())));
  s.token_ids.push_back(token_id);
}

}  // namespace stet::executor
