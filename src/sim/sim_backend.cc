#include "src/sim/sim_backend.h"

#include <algorithm>

#include "src/sim/hash_random.h"
#include "stet/base/check.h"

namespace stet::sim {
namespace {

// Any token but kEndToken.
uint32_t token_of(uint64_t content, uint32_t position) {
  return 1 + static_cast<uint32_t>(mix64(content + position) % (kVocabSize - 1));
}

executor::BackendInfo info_of(const MachineModel& machine) {
  const uint32_t most = std::min<uint32_t>(machine.max_step_tokens, machine.num_blocks());
  return {.name = "sim",
          .device = machine.name,
          .num_blocks = machine.num_blocks(),
          .block_tokens = machine.block_tokens,
          .vocab_size = kVocabSize,
          .max_model_len = machine.num_blocks() * machine.block_tokens,
          .max_step_tokens = machine.max_step_tokens,
          // Room for those that wait to be destroyed beside all that may run: the bound is none.
          .max_sequences = 2 * most + 128};
}

}  // namespace

std::vector<uint32_t> prompt_of(const TraceRequest& request, uint64_t index, uint64_t seed) {
  std::vector<uint32_t> tokens(request.prompt_tokens);
  if (request.prefix_ids.empty()) {
    const uint64_t content = mix64(mix64(seed) ^ index);
    for (uint32_t i = 0; i < request.prompt_tokens; ++i) {
      tokens[i] = token_of(content, i);
    }
    return tokens;
  }
  for (uint32_t i = 0; i < request.prompt_tokens;) {
    const uint64_t content = mix64(~mix64(seed) ^ request.prefix_ids[i / kPrefixBlockTokens]);
    const uint32_t end = std::min(request.prompt_tokens, i + kPrefixBlockTokens);
    for (; i < end; ++i) {
      tokens[i] = token_of(content, i % kPrefixBlockTokens);
    }
  }
  return tokens;
}

SimBackend::SimBackend(const MachineModel& machine, std::span<const TraceRequest> requests,
                       uint64_t seed, VirtualTime* time)
    : machine_(machine),
      requests_(requests),
      seed_(seed),
      time_(time),
      info_(info_of(machine)),
      reached_(requests.size(), 0) {}

executor::Ticket SimBackend::submit(const StepBatch& batch) {
  HostTimer timer(&host_ns_);
  result_.clear();
  result_.step = batch.step;
  for (const NewSequence& record : batch.new_sequences) {
    create(record);
  }
  uint64_t num_positions = 0;
  for (const BatchRow& row : batch.rows) {
    num_positions += row.n_pos;
    compute(row);
  }
  STET_CHECK(num_positions <= machine_.max_step_tokens, "a step keeps to max_step_tokens");
  work_.num_steps += batch.rows.empty() ? 0 : 1;
  result_.step_us = machine_.step.step_us(batch);
  ends_us_ = time_->now_us() + result_.step_us;
  return {batch.step};
}

void SimBackend::wait(executor::Ticket ticket, StepResult* result) {
  HostTimer timer(&host_ns_);
  STET_CHECK(ticket.step == result_.step, "one step is in flight at a time");
  time_->run_until(ends_us_);
  std::swap(*result, result_);
}

void SimBackend::create(const NewSequence& record) {
  if (sequences_.size() <= record.seq.v) {
    sequences_.resize(record.seq.v + 1);
  }
  const auto prompt_len = static_cast<uint32_t>(record.prompt_token_ids.size());
  const uint64_t request = record.sampling.seed;
  STET_CHECK(request < requests_.size() && prompt_len == requests_[request].prompt_tokens,
             "a sampling seed names a row of the trace");
  sequences_[record.seq.v] = {
      .request = request,
      .prompt_len = prompt_len,
      .num_known = prompt_len + static_cast<uint32_t>(record.output_token_ids.size())};
}

void SimBackend::compute(const BatchRow& row) {
  SimSequence& s = sequences_.at(row.seq.v);
  STET_CHECK(!s.started || row.first_pos == s.next_pos, "rows of a sequence follow each other");
  count_work(row, s);
  s.started = true;
  s.next_pos = row.first_pos + row.n_pos;
  if (!row.sample) {
    return;
  }
  STET_CHECK(s.next_pos == s.num_known, "sampling needs all known tokens");
  const uint32_t output = s.num_known - s.prompt_len + 1;  // counted from 1
  const uint32_t last = requests_[s.request].output_tokens;
  STET_CHECK(output <= last, "nothing runs on after its stop token");
  const uint32_t token =
      output == last ? kEndToken : token_of(mix64(seed_ + s.request), s.num_known);
  result_.sampled.push_back({.seq = row.seq, .token_id = token});
  ++s.num_known;
}

void SimBackend::count_work(const BatchRow& row, SimSequence& s) {
  uint32_t& reached = reached_[s.request];
  if (!s.started) {
    work_.from_cache += row.first_pos;
    reached = std::max(reached, row.first_pos);
  }
  const uint32_t end = row.first_pos + row.n_pos;
  const uint32_t again = std::min(reached, end) - std::min(reached, row.first_pos);
  const uint32_t first_new = row.first_pos + again;
  const uint32_t prompt = std::min(end, s.prompt_len) - std::min(first_new, s.prompt_len);
  work_.recomputed += again;
  work_.prefill_new += prompt;
  work_.decoded += row.n_pos - again - prompt;
  reached = std::max(reached, end);
}

}  // namespace stet::sim
