// Drives a CpuBackend by hand: block tables, chunks and decode rows, without engine, scheduler or
// KvCache.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "stet/executor/cpu_backend.h"
#include "tests/support/tiny_gguf.h"

namespace stet::executor {

std::shared_ptr<const model::Model> load_tiny(const testing::TinyModelSpec& spec);

struct TestRequest {
  std::vector<uint32_t> prompt;
  SamplingParams sampling;
  uint32_t choice = 0;
};

// A sampled token with all that the API shows of it, floats as bits.
struct TokenRecord {
  uint32_t token_id = 0;
  uint32_t logprob_bits = 0;
  uint32_t rank = 0;
  std::vector<std::pair<uint32_t, uint32_t>> top;
  friend bool operator==(const TokenRecord&, const TokenRecord&) = default;
};
using Answer = std::vector<TokenRecord>;

struct RunOptions {
  const kernels::KernelTable* table = nullptr;  // null = scalar
  uint32_t num_threads = 1;
  uint32_t chunk = 512;
  uint32_t block_tokens = 64;
  uint32_t max_step_tokens = 512;
  uint32_t num_blocks = 512;
  uint64_t shuffle_seed = 0;  // 0 = slots in order
  bool poison = true;
  KvMode kv_mode = KvMode::kPaged;
  bool guard = false;
  uint64_t kv_max_maps = 0;
  bool group = false;  // decode rows that share 4 tiles or more attend together
};

// Owns a backend and one table per sequence. Slots are never given back: recycling is a test of its
// own.
class StepDriver {
 public:
  StepDriver(std::shared_ptr<const model::Model> model, const RunOptions& options);

  CpuBackend& backend() { return *backend_; }
  SeqId add(const TestRequest& request);
  // Shares the first `num_blocks` full blocks of `source`; its K and V count as computed.
  SeqId add_sharing(const TestRequest& request, SeqId source, uint32_t num_blocks);
  // Shares full blocks below num_tokens and copies the partial one.
  SeqId add_fork(const TestRequest& request, SeqId source, uint32_t num_tokens);
  void destroy(SeqId seq);
  void reuse_slots_of(SeqId seq);  // after destroy: its slots are handed out next

  // One step: `rows` of (sequence, number of tokens); a row samples when it ends at the last known
  // token.
  const StepResult& step(const std::vector<std::pair<SeqId, uint32_t>>& rows);
  // All sequences that still want tokens: decode rows, then chunks in order under the budget. False
  // when nothing was left.
  bool step_all();
  const Answer& answer(SeqId seq) const { return sequences_.at(seq).answer; }
  bool faulted(SeqId seq) const { return sequences_.at(seq).faulted; }
  BlockId block_of(SeqId seq, uint32_t index) const { return sequences_.at(seq).blocks[index]; }
  // K and V of its full blocks, in order.
  std::vector<std::byte> kv_of(SeqId seq);

 private:
  struct Sequence {
    TestRequest request;
    std::vector<uint32_t> tokens;  // prompt and outputs
    std::vector<BlockId> blocks;
    uint32_t num_computed = 0;
    Answer answer;
    bool faulted = false;
    bool done() const { return faulted || answer.size() >= request.sampling.max_tokens; }
  };
  Sequence& create(const TestRequest& request, SeqId* seq);
  BlockId take_slot();
  void ensure_blocks(SeqId seq, uint32_t num_tokens);
  void add_groups(const std::vector<std::pair<SeqId, uint32_t>>& rows);
  void push_op(KvOpKind kind, SeqId seq, uint32_t first, const std::vector<BlockId>& slots);

  RunOptions options_;
  std::unique_ptr<CpuBackend> backend_;
  std::map<SeqId, Sequence> sequences_;
  std::vector<BlockId> free_;  // taken from the back
  std::vector<BlockId> released_;
  StepBatch batch_;
  StepResult result_;
  uint64_t next_seq_ = 1;
};

std::vector<Answer> run_all(const std::shared_ptr<const model::Model>& model,
                            const std::vector<TestRequest>& requests, const RunOptions& options);
Answer run_alone(const std::shared_ptr<const model::Model>& model, const TestRequest& request,
                 const RunOptions& options);

// Seeded prompt of that length and sampling that shows everything (log-probabilities with
// alternatives).
TestRequest make_request(uint32_t vocab_size, uint32_t prompt_tokens, uint32_t max_tokens,
                         uint64_t seed);

}  // namespace stet::executor
