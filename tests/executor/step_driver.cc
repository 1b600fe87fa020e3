#include "tests/executor/step_driver.h"

#include <algorithm>
#include <random>

#include "stet/base/check.h"

namespace stet::executor {

std::shared_ptr<const model::Model> load_tiny(const testing::TinyModelSpec& spec) {
  const std::vector<std::byte> bytes = testing::make_tiny_gguf(spec);
  Result<formats::TensorIndex> index = formats::parse_gguf(bytes);
  STET_CHECK(index.ok(), index.status().message().c_str());
  auto model = model::load_model(*index, {});
  STET_CHECK(model.ok(), model.status().message().c_str());
  return *model;
}

StepDriver::StepDriver(std::shared_ptr<const model::Model> model, const RunOptions& options)
    : options_(options) {
  auto backend =
      CpuBackend::create({.model = std::move(model),
                          .table = options.table ? options.table : kernels::find_table("scalar"),
                          .num_threads = options.num_threads,
                          .num_blocks = options.num_blocks,
                          .block_tokens = options.block_tokens,
                          .max_step_tokens = options.max_step_tokens,
                          .max_sequences = 64,
                          .kv_mode = options.kv_mode,
                          .guard_kv = options.guard,
                          .kv_max_maps = options.kv_max_maps,
                          .poison_kv = options.poison});
  STET_CHECK(backend.ok(), backend.status().message().c_str());
  backend_ = std::move(backend).value();
  for (uint32_t i = options.num_blocks; i > 0; --i) {
    free_.push_back(BlockId{i - 1});
  }
  if (options.shuffle_seed != 0) {
    std::mt19937_64 random(options.shuffle_seed);
    std::shuffle(free_.begin(), free_.end(), random);
  }
}

BlockId StepDriver::take_slot() {
  STET_CHECK(!free_.empty(), "the test's pool is large enough");
  const BlockId slot = free_.back();
  free_.pop_back();
  return slot;
}

void StepDriver::push_op(KvOpKind kind, SeqId seq, uint32_t first,
                         const std::vector<BlockId>& slots) {
  batch_.kv_ops.push_back({.kind = kind,
                           .seq = seq,
                           .first = first,
                           .slot_offset = static_cast<uint32_t>(batch_.kv_slots.size()),
                           .num_slots = static_cast<uint32_t>(slots.size())});
  batch_.kv_slots.insert(batch_.kv_slots.end(), slots.begin(), slots.end());
}

StepDriver::Sequence& StepDriver::create(const TestRequest& request, SeqId* seq) {
  *seq = SeqId{next_seq_++};
  Sequence& s = sequences_[*seq];
  s.request = request;
  s.tokens = request.prompt;
  NewSequence record;
  record.seq = *seq;
  record.sampling = request.sampling;
  record.choice = request.choice;
  record.max_blocks = options_.num_blocks;
  record.prompt_token_ids = request.prompt;
  batch_.new_sequences.push_back(record);
  return s;
}

SeqId StepDriver::add(const TestRequest& request) {
  SeqId seq;
  create(request, &seq);
  return seq;
}

SeqId StepDriver::add_sharing(const TestRequest& request, SeqId source, uint32_t num_blocks) {
  SeqId seq;
  Sequence& s = create(request, &seq);
  const std::vector<BlockId>& blocks = sequences_.at(source).blocks;
  s.blocks.assign(blocks.begin(), blocks.begin() + num_blocks);
  s.num_computed = num_blocks * options_.block_tokens;
  push_op(KvOpKind::kShare, seq, 0, s.blocks);
  return seq;
}

SeqId StepDriver::add_fork(const TestRequest& request, SeqId source, uint32_t num_tokens) {
  const uint32_t full = num_tokens / options_.block_tokens;
  const SeqId seq = add_sharing(request, source, full);
  Sequence& s = sequences_.at(seq);
  if (num_tokens % options_.block_tokens != 0) {
    push_op(KvOpKind::kShare, seq, 0, {sequences_.at(source).blocks[full]});
    s.blocks.push_back(take_slot());
    push_op(KvOpKind::kPrivatise, seq, full, {s.blocks.back()});
  }
  s.num_computed = num_tokens;
  return seq;
}

void StepDriver::destroy(SeqId seq) {
  push_op(KvOpKind::kDestroy, seq, 0, {});
}

void StepDriver::reuse_slots_of(SeqId seq) {
  const std::vector<BlockId>& blocks = sequences_.at(seq).blocks;
  free_.insert(free_.end(), blocks.begin(), blocks.end());
  sequences_.erase(seq);
}

void StepDriver::ensure_blocks(SeqId seq, uint32_t num_tokens) {
  Sequence& s = sequences_.at(seq);
  std::vector<BlockId> slots;
  while (s.blocks.size() * options_.block_tokens < num_tokens) {
    slots.push_back(take_slot());
    s.blocks.push_back(slots.back());
  }
  if (!slots.empty()) {
    push_op(KvOpKind::kAppend, seq, 0, slots);
  }
}

// By hand and simpler than the scheduler: a row joins the first group whose leader shares enough
// with it.
void StepDriver::add_groups(const std::vector<std::pair<SeqId, uint32_t>>& rows) {
  std::vector<PrefixGroup> groups;
  const auto shared = [&](SeqId a, SeqId b) {
    const Sequence& x = sequences_.at(a);
    const Sequence& y = sequences_.at(b);
    const uint32_t full = std::min(x.num_computed, y.num_computed) / options_.block_tokens;
    const auto end = std::mismatch(x.blocks.begin(), x.blocks.begin() + full, y.blocks.begin());
    return static_cast<uint32_t>(end.first - x.blocks.begin()) * options_.block_tokens;
  };
  for (const auto& [seq, num_tokens] : rows) {
    const SeqId member = seq;
    if (num_tokens != 1) {
      continue;
    }
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const PrefixGroup& g) {
      return shared(g.leader, member) >= 256;
    });
    if (group != groups.end()) {
      group->members.push_back(member);
      group->shared_tokens = std::min(group->shared_tokens, shared(group->leader, member));
    } else {
      groups.push_back({.leader = member, .members = {member}, .shared_tokens = UINT32_MAX});
    }
  }
  for (PrefixGroup& group : groups) {
    if (group.members.size() >= 2) {
      batch_.groups.push_back(std::move(group));
    }
  }
}

std::vector<std::byte> StepDriver::kv_of(SeqId seq) {
  const Sequence& s = sequences_.at(seq);
  std::vector<std::byte> bytes;
  for (uint32_t i = 0; i < s.num_computed / options_.block_tokens; ++i) {  // written to the end
    const std::span<const std::byte> block = backend_->kv_block(s.blocks[i]);
    bytes.insert(bytes.end(), block.begin(), block.end());
  }
  return bytes;
}

const StepResult& StepDriver::step(const std::vector<std::pair<SeqId, uint32_t>>& rows) {
  if (options_.group) {
    add_groups(rows);
  }
  for (const auto& [seq, num_tokens] : rows) {
    Sequence& s = sequences_.at(seq);
    ensure_blocks(seq, s.num_computed + num_tokens);
    batch_.rows.push_back({.seq = seq,
                           .first_pos = s.num_computed,
                           .n_pos = num_tokens,
                           .token_offset = static_cast<uint32_t>(batch_.token_ids.size()),
                           .sample = s.num_computed + num_tokens == s.tokens.size()});
    const auto first = s.tokens.begin() + s.num_computed;
    batch_.token_ids.insert(batch_.token_ids.end(), first, first + num_tokens);
    s.num_computed += num_tokens;
  }
  backend_->wait(backend_->submit(batch_), &result_);
  const uint64_t next_step = batch_.step + 1;
  batch_.clear();
  batch_.step = next_step;
  for (const SampledToken& token : result_.sampled) {
    Sequence& s = sequences_.at(token.seq);
    s.tokens.push_back(token.token_id);
    TokenRecord record{token.token_id, std::bit_cast<uint32_t>(token.logprob), token.rank, {}};
    for (uint32_t i = 0; i < token.num_top; ++i) {
      const TopLogprob& top = result_.top[token.top_offset + i];
      record.top.emplace_back(top.token_id, std::bit_cast<uint32_t>(top.logprob));
    }
    s.answer.push_back(record);
  }
  for (const RowFault& fault : result_.faults) {
    sequences_.at(fault.seq).faulted = true;
  }
  return result_;
}

bool StepDriver::step_all() {
  std::vector<std::pair<SeqId, uint32_t>> rows;
  uint32_t budget = options_.max_step_tokens;
  for (const bool decode : {true, false}) {
    for (const auto& [seq, s] : sequences_) {
      const auto left = static_cast<uint32_t>(s.tokens.size()) - s.num_computed;
      if (s.done() || (left == 1) != decode) {
        continue;
      }
      const uint32_t num_tokens = std::min({left, options_.chunk, budget});
      if (num_tokens > 0) {
        rows.emplace_back(seq, num_tokens);
        budget -= num_tokens;
      }
    }
  }
  if (rows.empty()) {
    return false;
  }
  step(rows);
  return true;
}

std::vector<Answer> run_all(const std::shared_ptr<const model::Model>& model,
                            const std::vector<TestRequest>& requests, const RunOptions& options) {
  StepDriver driver(model, options);
  std::vector<SeqId> ids;
  for (const TestRequest& request : requests) {
    ids.push_back(driver.add(request));
  }
  while (driver.step_all()) {
  }
  std::vector<Answer> answers;
  for (SeqId id : ids) {
    answers.push_back(driver.answer(id));
  }
  return answers;
}

Answer run_alone(const std::shared_ptr<const model::Model>& model, const TestRequest& request,
                 const RunOptions& options) {
  return run_all(model, {request}, options)[0];
}

TestRequest make_request(uint32_t vocab_size, uint32_t prompt_tokens, uint32_t max_tokens,
                         uint64_t seed) {
  std::mt19937_64 random(seed);
  TestRequest request;
  for (uint32_t i = 0; i < prompt_tokens; ++i) {
    request.prompt.push_back(static_cast<uint32_t>(random() % vocab_size));
  }
  SamplingParams& p = request.sampling;
  p.max_tokens = max_tokens;
  p.num_logprobs = 5;
  p.seed = seed;
  if (seed % 3 == 0) {
    p.temperature = 0.0f;
  } else {
    p.temperature = 0.9f;
    p.top_p = 0.95f;
    p.frequency_penalty = 0.3f;
    p.repetition_penalty = 1.1f;
  }
  return request;
}

}  // namespace stet::executor
