// One step of a real model, without engine and scheduler: tokens/s and where the time goes.
//
//   step_bench model.gguf [--threads 2] [--cases decode_x1,prefill_512] [--steps 20] [--table
//   avx512vnni] [--kv paged]
//
// A decode step gives one token to each sequence; contexts start at the case's length and grow.
// Medians over the steps, best in brackets; verbs are shares of the sum. Measured figures and the
// machine: benchmarks/engine/README.md.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "stet/executor/cpu_backend.h"
#include "stet/executor/cpu_topology.h"
#include "stet/formats/tensor_index.h"

namespace stet::executor {
namespace {

constexpr uint32_t kBlockTokens = 64;

struct Case {
  const char* name;
  uint32_t num_sequences;
  uint32_t context;     // positions in the cache before the step
  uint32_t num_tokens;  // new positions per sequence and step
  uint32_t shared = 0;  // the first positions of all are the same blocks
  bool group = false;   // and they attend over them together
};
constexpr Case kCases[] = {
    {"decode_x1", 1, 255, 1},
    {"decode_x8", 8, 255, 1},
    {"decode_x16", 16, 255, 1},
    {"decode_x32", 32, 255, 1},
    {"decode_x64", 64, 255, 1},
    {"decode_x32_ctx128", 32, 127, 1},
    {"decode_x1_ctx4096", 1, 4095, 1},
    {"prefill_512", 1, 0, 512},
    {"prefill_128_at_384", 1, 384, 128},
    {"prefill_4x128", 4, 0, 128},
    {"prefill_64_at_1984", 1, 1984, 64},
    {"prefill_16_at_2032", 1, 2032, 16},
    {"mixed_16+256", 17, 255, 0},
    {"shared_960_x16_alone", 16, 1023, 1, 960, false},
    {"shared_960_x16_group", 16, 1023, 1, 960, true},
    {"shared_7936_x4_alone", 4, 7967, 1, 7936, false},
    {"shared_7936_x4_group", 4, 7967, 1, 7936, true},
    {"shared_7936_x16_alone", 16, 7967, 1, 7936, false},
    {"shared_7936_x16_group", 16, 7967, 1, 7936, true},
};

struct Settings {
  std::string path, table, cases;
  std::string kv = "paged";
  uint32_t threads = 0;
  uint32_t steps = 20;
};

// Sequences with filled caches and a step that can be repeated at the same positions.
class Bench {
 public:
  Bench(std::shared_ptr<const model::Model> model, const Settings& settings, const Case& c)
      : case_(c) {
    const uint32_t longest =
        std::max(c.context + std::max(c.num_tokens, 256u) + settings.steps, 512u) + kBlockTokens;
    blocks_per_sequence_ = longest / kBlockTokens + 1;
    auto backend = CpuBackend::create(
        {.model = model,
         .table = settings.table.empty() ? nullptr : kernels::find_table(settings.table.c_str()),
         .num_threads = settings.threads,
         .num_blocks = blocks_per_sequence_ * c.num_sequences,
         .block_tokens = kBlockTokens,
         .max_step_tokens = 512,
         .max_sequences = std::max(c.num_sequences, 2u),
         .kv_mode = kv_mode_of_name(settings.kv).value_or(KvMode::kPaged),
         .prefault_kv = true});
    if (!backend.ok()) {
      std::fprintf(stderr, "%s\n", backend.status().to_string().c_str());
      std::exit(1);
    }
    backend_ = std::move(backend).value();
    vocab_ = model->hyper.vocab_size;
    create_sequences();
    fill();
  }

  uint32_t rows_per_step() const {
    return case_.num_tokens != 0 ? case_.num_sequences * case_.num_tokens
                                 : case_.num_sequences - 1 + 256;
  }
  CpuBackend& backend() { return *backend_; }

  uint64_t run_once() {
    for (uint32_t s = 0; s < case_.num_sequences; ++s) {
      const bool chunk = case_.num_tokens == 0 && s + 1 == case_.num_sequences;
      add_rows(s, case_.context, chunk ? 256 : std::max(case_.num_tokens, 1u), true);
    }
    if (case_.group) {
      batch_.groups.push_back({.leader = SeqId{1}, .members = {}, .shared_tokens = case_.shared});
      for (const BatchRow& row : batch_.rows) {
        batch_.groups.back().members.push_back(row.seq);
      }
    }
    return run();
  }

 private:
  void create_sequences() {
    for (uint32_t s = 0; s < case_.num_sequences; ++s) {
      NewSequence record;
      record.seq = SeqId{s + 1};
      record.max_blocks = blocks_per_sequence_;
      record.sampling.temperature = 0.0f;
      record.prompt_token_ids = {1};
      batch_.new_sequences.push_back(record);
      const uint32_t num_shared = s == 0 ? 0 : case_.shared / kBlockTokens;
      add_blocks(KvOpKind::kShare, record.seq, 0, 0, num_shared);
      add_blocks(KvOpKind::kAppend, record.seq, s, num_shared, blocks_per_sequence_);
    }
    run();
  }

  // Blocks [begin, end) of a table, from the slots of sequence `owner`; sequences are interleaved:
  // no run of neighbours.
  void add_blocks(KvOpKind kind, SeqId seq, uint32_t owner, uint32_t begin, uint32_t end) {
    if (begin == end) {
      return;
    }
    batch_.kv_ops.push_back({.kind = kind,
                             .seq = seq,
                             .slot_offset = static_cast<uint32_t>(batch_.kv_slots.size()),
                             .num_slots = end - begin});
    for (uint32_t b = begin; b < end; ++b) {
      batch_.kv_slots.push_back(BlockId{b * case_.num_sequences + owner});
    }
  }

  void fill() {
    for (uint32_t s = 0; s < case_.num_sequences; ++s) {
      for (uint32_t pos = s == 0 ? 0 : case_.shared; pos < case_.context; pos += 512) {
        add_rows(s, pos, std::min(512u, case_.context - pos), false);
        run();
      }
    }
  }

  void add_rows(uint32_t s, uint32_t first_pos, uint32_t num, bool sample) {
    batch_.rows.push_back({.seq = SeqId{s + 1},
                           .first_pos = first_pos,
                           .n_pos = num,
                           .token_offset = static_cast<uint32_t>(batch_.token_ids.size()),
                           .sample = sample});
    for (uint32_t i = 0; i < num; ++i) {
      random_ = random_ * 6364136223846793005u + 1442695040888963407u;
      batch_.token_ids.push_back(static_cast<uint32_t>(random_ >> 33) % vocab_);
    }
  }

  uint64_t run() {
    const auto begin = std::chrono::steady_clock::now();
    backend_->wait(backend_->submit(batch_), &result_);
    const auto elapsed = std::chrono::steady_clock::now() - begin;
    const uint64_t next = batch_.step + 1;
    batch_.clear();
    batch_.step = next;
    return static_cast<uint64_t>(elapsed / std::chrono::nanoseconds(1));
  }

  const Case case_;
  uint32_t blocks_per_sequence_ = 0;
  uint32_t vocab_ = 0;
  uint64_t random_ = 42;
  std::unique_ptr<CpuBackend> backend_;
  StepBatch batch_;
  StepResult result_;
};

void run_case(const std::shared_ptr<const model::Model>& model, const Settings& settings,
              const Case& c) {
  Bench bench(model, settings, c);
  bench.run_once();
  bench.run_once();
  bench.backend().reset_timings();
  std::vector<uint64_t> ns;
  for (uint32_t i = 0; i < settings.steps; ++i) {
    ns.push_back(bench.run_once());
  }
  std::sort(ns.begin(), ns.end());
  const auto median = static_cast<double>(ns[ns.size() / 2]);
  std::printf("%-20s %8.2f ms (%.2f)  %7.0f tok/s |", c.name, median / 1e6,
              static_cast<double>(ns[0]) / 1e6, bench.rows_per_step() / median * 1e9);
  const StepTimings timings = bench.backend().timings();
  for (int v = 0; v < kNumVerbs; ++v) {
    const auto share = static_cast<double>(timings.verb_ns[static_cast<size_t>(v)]);
    if (share * 1000 > static_cast<double>(timings.total_ns)) {
      std::printf(" %s %.2f", verb_name(static_cast<Verb>(v)), share / timings.num_steps / 1e6);
    }
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace stet::executor

int main(int argc, char** argv) {
  using namespace stet;
  executor::Settings settings;
  CLI::App app("tokens/s and time per verb of one backend step");
  app.add_option("model", settings.path, "GGUF file")->required();
  app.add_option("--threads", settings.threads, "compute threads; 0 = usable CPUs");
  app.add_option("--steps", settings.steps, "measured steps per case")
      ->check(CLI::Range(1, 100000));
  app.add_option("--cases", settings.cases, "comma-separated prefixes of case names; empty = all");
  app.add_option("--table", settings.table, "kernel table; empty = the best for this CPU");
  app.add_option("--kv", settings.kv, "KV memory")->check(CLI::IsMember({"paged", "virtual"}));
  CLI11_PARSE(app, argc, argv);
  if (settings.threads == 0) {
    settings.threads = executor::read_cpu_budget().usable();
  }
  if (!settings.table.empty()) {
    const kernels::KernelTable* table = kernels::find_table(settings.table.c_str());
    if (table == nullptr || !kernels::cpu_supports(*table)) {
      std::fprintf(stderr, "no kernel table '%s' for this CPU; best here: %s\n",
                   settings.table.c_str(), kernels::best_table().name);
      return 64;
    }
  }
  auto index = formats::open_gguf(settings.path);
  if (!index.ok()) {
    std::fprintf(stderr, "%s\n", index.status().to_string().c_str());
    return 66;
  }
  auto model = model::load_model(*index, {.num_threads = settings.threads});
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().to_string().c_str());
    return 65;
  }
  std::printf("%s, %u threads, table %s, KV %s; ms per step: median (best); verbs: mean ms\n",
              (*model)->name.c_str(), settings.threads,
              settings.table.empty() ? kernels::best_table().name : settings.table.c_str(),
              settings.kv.c_str());
  for (const executor::Case& c : executor::kCases) {
    const std::string list = "," + settings.cases;
    bool wanted = settings.cases.empty();
    for (size_t at = 0; !wanted && (at = list.find(',', at)) != std::string::npos; ++at) {
      const std::string prefix = list.substr(at + 1, list.find(',', at + 1) - at - 1);
      wanted = std::string(c.name).compare(0, prefix.size(), prefix) == 0;
    }
    if (wanted) {
      executor::run_case(*model, settings, c);
    }
  }
  return 0;
}
