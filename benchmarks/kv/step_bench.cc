// Paged against virtual KV in the steps of a model: decode that grows over block borders, prefill
// of new sequences. How long a step takes, and which share of it mapping takes.
//
//   kv_step_bench model.gguf [--threads 2] [--steps 192]
//
// Both backends live at once and take turns of 16 steps, so that a busy neighbour meets both.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "stet/executor/cpu_backend.h"
#include "stet/executor/cpu_topology.h"
#include "stet/formats/tensor_index.h"

namespace stet::executor {
namespace {

constexpr uint32_t kBlockTokens = 64;
constexpr uint32_t kTurn = 16;

struct Case {
  const char* name;
  uint32_t num_sequences;  // decode: each grows by one token per step
  uint32_t context;        // of the shortest; the others are spread over one block
  uint32_t chunk;          // prefill: one new sequence per step
  bool same_slots;         // prefill: each takes the slots of the one before
};
constexpr Case kCases[] = {
    {"decode_x1 from 256", 1, 256, 0, true},
    {"decode_x8 from 256", 8, 256, 0, true},
    {"decode_x32 from 256", 32, 256, 0, true},
    {"decode_x1 from 4096", 1, 4096, 0, true},
    {"prefill 512, slots as before", 0, 0, 512, true},
    {"prefill 512, other slots", 0, 0, 512, false},
    {"prefill 64, other slots", 0, 0, 64, false},
};

class Runner {
 public:
  Runner(std::shared_ptr<const model::Model> model, KvMode mode, const Case& c, uint32_t threads,
         uint32_t num_steps)
      : case_(c), random_(7) {
    const uint32_t longest = c.context + 2 * kBlockTokens + num_steps;
    blocks_per_sequence_ = (c.chunk != 0 ? c.chunk : longest) / kBlockTokens + 1;
    const uint32_t num_blocks = blocks_per_sequence_ * std::max(c.num_sequences, 8u);
    auto backend = CpuBackend::create({.model = model,
                                       .num_threads = threads,
                                       .num_blocks = num_blocks,
                                       .block_tokens = kBlockTokens,
                                       .max_step_tokens = 512,
                                       .max_sequences = std::max(c.num_sequences, 2u),
                                       .kv_mode = mode,
                                       .prefault_kv = true});
    if (!backend.ok()) {
      std::fprintf(stderr, "%s\n", backend.status().to_string().c_str());
      std::exit(1);
    }
    backend_ = std::move(backend).value();
    vocab_ = model->hyper.vocab_size;
    for (uint32_t i = 0; i < num_blocks; ++i) {
      for (std::byte& b : backend_->kv_block(BlockId{i})) {
        b = std::byte{0};  // paged memory gets its pages, too
      }
      free_.push_back(BlockId{i});
    }
    std::shuffle(free_.begin(), free_.end(), random_);
    for (uint32_t s = 0; s < c.num_sequences; ++s) {
      start_sequence();
      fill(s, c.context + s * kBlockTokens / c.num_sequences);
    }
    before_ = backend_->kv_stats();
  }

  void step() {
    const KvMemoryStats before = backend_->kv_stats();
    if (case_.chunk != 0) {
      restart();
      add_rows(0, case_.chunk);
    } else {
      for (uint32_t s = 0; s < case_.num_sequences; ++s) {
        add_rows(s, 1);
      }
    }
    step_ms_.push_back(run());
    map_us_.push_back(static_cast<double>(backend_->kv_stats().map_us - before.map_us));
  }

  void report(const char* mode) {
    double sum_ms = 0, sum_us = 0, most_us = 0;
    for (size_t i = 0; i < step_ms_.size(); ++i) {
      sum_ms += step_ms_[i];
      sum_us += map_us_[i];
      most_us = std::max(most_us, map_us_[i]);
    }
    const auto num = static_cast<double>(step_ms_.size());
    std::sort(step_ms_.begin(), step_ms_.end());
    const KvMemoryStats stats = backend_->kv_stats();
    std::printf("%-30s %-8s %9.3f %9.3f %9.3f | %6.2f %8.1f %8.0f %8.3f\n", case_.name, mode,
                step_ms_[step_ms_.size() / 2], step_ms_[0], sum_ms / num,
                static_cast<double>(stats.map_calls - before_.map_calls) / num, sum_us / num,
                most_us, sum_us / sum_ms / 10);
    std::fflush(stdout);
  }

 private:
  struct Sequence {
    SeqId id;
    uint32_t num_tokens = 0;
    std::vector<BlockId> blocks;
  };

  void start_sequence() {
    NewSequence record;
    record.seq = SeqId{next_seq_++};
    record.max_blocks = blocks_per_sequence_;
    record.sampling.temperature = 0.0f;
    record.prompt_token_ids = {1};
    batch_.new_sequences.push_back(record);
    sequences_.push_back({.id = record.seq, .num_tokens = 0, .blocks = {}});
  }

  void restart() {
    if (!sequences_.empty()) {
      batch_.kv_ops.push_back({.kind = KvOpKind::kDestroy, .seq = sequences_[0].id});
      free_.insert(free_.end(), sequences_[0].blocks.rbegin(), sequences_[0].blocks.rend());
      sequences_.clear();
    }
    if (!case_.same_slots) {
      std::shuffle(free_.begin(), free_.end(), random_);
    }
    start_sequence();
  }

  void fill(uint32_t index, uint32_t num_tokens) {
    for (uint32_t done = 0; done < num_tokens; done += 512) {
      add_rows(index, std::min(512u, num_tokens - done));
      run();
    }
  }

  void add_rows(uint32_t index, uint32_t num) {
    Sequence& s = sequences_[index];
    const auto first = static_cast<uint32_t>(batch_.kv_slots.size());
    while (s.blocks.size() * kBlockTokens < s.num_tokens + num) {
      s.blocks.push_back(free_.back());
      batch_.kv_slots.push_back(free_.back());
      free_.pop_back();
    }
    if (const auto taken = static_cast<uint32_t>(batch_.kv_slots.size()) - first; taken != 0) {
      batch_.kv_ops.push_back(
          {.kind = KvOpKind::kAppend, .seq = s.id, .slot_offset = first, .num_slots = taken});
    }
    batch_.rows.push_back({.seq = s.id,
                           .first_pos = s.num_tokens,
                           .n_pos = num,
                           .token_offset = static_cast<uint32_t>(batch_.token_ids.size()),
                           .sample = true});
    for (uint32_t i = 0; i < num; ++i) {
      batch_.token_ids.push_back(static_cast<uint32_t>(random_()) % vocab_);
    }
    s.num_tokens += num;
  }

  double run() {
    const auto begin = std::chrono::steady_clock::now();
    backend_->wait(backend_->submit(batch_), &result_);
    const auto elapsed = std::chrono::steady_clock::now() - begin;
    const uint64_t next = batch_.step + 1;
    batch_.clear();
    batch_.step = next;
    return std::chrono::duration<double, std::milli>(elapsed).count();
  }

  const Case case_;
  std::mt19937 random_;
  uint32_t blocks_per_sequence_ = 0;
  uint32_t vocab_ = 0;
  uint64_t next_seq_ = 1;
  std::unique_ptr<CpuBackend> backend_;
  std::vector<Sequence> sequences_;
  std::vector<BlockId> free_;  // taken from the back
  StepBatch batch_;
  StepResult result_;
  KvMemoryStats before_;
  std::vector<double> step_ms_, map_us_;
};

void run_case(const std::shared_ptr<const model::Model>& model, const Case& c, uint32_t threads,
              uint32_t most_steps) {
  const uint32_t num_steps = c.chunk > kBlockTokens ? std::max(kTurn, most_steps / 6) : most_steps;
  Runner paged(model, KvMode::kPaged, c, threads, num_steps);
  Runner mapped(model, KvMode::kVirtual, c, threads, num_steps);
  for (uint32_t done = 0; done < num_steps; done += kTurn) {
    for (Runner* runner : {&paged, &mapped}) {
      for (uint32_t i = 0; i < std::min(kTurn, num_steps - done); ++i) {
        runner->step();
      }
    }
  }
  paged.report(kv_mode_name(KvMode::kPaged));
  mapped.report(kv_mode_name(KvMode::kVirtual));
}

}  // namespace
}  // namespace stet::executor

int main(int argc, char** argv) {
  using namespace stet;
  std::string path;
  uint32_t threads = 0, num_steps = 192;
  CLI::App app("paged against virtual KV in steps of a model");
  app.add_option("model", path, "GGUF file")->required();
  app.add_option("--threads", threads, "compute threads; 0 = usable CPUs");
  app.add_option("--steps", num_steps, "steps per case and mode")->check(CLI::Range(16, 4096));
  CLI11_PARSE(app, argc, argv);
  if (threads == 0) {
    threads = executor::read_cpu_budget().usable();
  }
  auto index = formats::open_gguf(path);
  if (!index.ok()) {
    std::fprintf(stderr, "%s\n", index.status().to_string().c_str());
    return 66;
  }
  auto model = model::load_model(*index, {.num_threads = threads});
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().to_string().c_str());
    return 65;
  }
  std::printf("%s, %u threads, %u steps per case and mode\n", (*model)->name.c_str(), threads,
              num_steps);
  std::printf("ms per step; map us: mean and most of one step; map %%: of all time\n");
  std::printf("%-30s %-8s %9s %9s %9s | %6s %8s %8s %8s\n", "case", "kv", "median ms", "best",
              "mean", "calls", "map us", "most us", "map %");
  for (const executor::Case& c : executor::kCases) {
    executor::run_case(*model, c, threads, num_steps);
  }
  return 0;
}
