// What must not show in an answer (exactness.md): company, chunks, threads, tables, blocks, slots,
// sharing, neighbours' faults.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "tests/executor/step_driver.h"

namespace stet::executor {
namespace {

std::shared_ptr<const model::Model> tiny(const std::string& arch) {
  testing::TinyModelSpec spec;
  spec.arch = arch;
  spec.num_layers = arch == "llama" ? 2 : 0;
  return load_tiny(spec);
}

// Lengths around tile and segment borders, greedy and sampled; the second half is short, for the
// sake of time.
std::vector<TestRequest> mixed_requests(uint32_t vocab) {
  constexpr uint32_t kLengths[] = {1,  63,  64,  65,  5,  127, 128, 129,
                                   30, 511, 512, 513, 17, 200, 2,   90};
  std::vector<TestRequest> requests;
  for (uint32_t i = 0; i < 32; ++i) {
    requests.push_back(make_request(vocab, i < 16 ? kLengths[i] : i, 4 + i % 3, i + 1));
  }
  return requests;
}

// A model, requests and their answers when each runs alone on one thread: computed once.
struct Reference {
  std::shared_ptr<const model::Model> model;
  std::vector<TestRequest> requests;
  std::vector<Answer> alone;
};
const Reference& reference(const std::string& arch) {
  static std::map<std::string, Reference> all;
  const auto [it, created] = all.try_emplace(arch);
  Reference& r = it->second;
  if (created) {
    r.model = tiny(arch);
    r.requests = mixed_requests(r.model->hyper.vocab_size);
    for (const TestRequest& request : r.requests) {
      r.alone.push_back(run_alone(r.model, request, {.table = &kernels::best_table()}));
    }
  }
  return r;
}

class InvarianceTest : public ::testing::TestWithParam<const char*> {
 protected:
  static void expect_same(const RunOptions& options, const char* what) {
    const Reference& r = reference(GetParam());
    const std::vector<Answer> found = run_all(r.model, r.requests, options);
    for (size_t i = 0; i < r.requests.size(); ++i) {
      EXPECT_EQ(found[i], r.alone[i]) << what << ", request " << i;
    }
  }
  const std::shared_ptr<const model::Model>& model_ = reference(GetParam()).model;
};

TEST_P(InvarianceTest, NothingAboutTheRunShowsInAnAnswer) {
  const kernels::KernelTable* best = &kernels::best_table();
  expect_same({.table = best}, "among 31 others");
  for (uint32_t chunk : {1u, 7u, 64u}) {
    expect_same({.table = best, .num_threads = 2, .chunk = chunk}, "chunks");
  }
  expect_same({.table = best, .max_step_tokens = 100}, "small steps");
  expect_same({.table = best, .num_threads = 2}, "2 threads");
  expect_same({.table = best, .num_threads = 5, .chunk = 100}, "5 threads");
  expect_same({.table = best, .block_tokens = 128}, "blocks of 128");
  expect_same({.table = best, .shuffle_seed = 7}, "shuffled slots");
  expect_same({.table = best, .kv_mode = KvMode::kVirtual}, "virtual");
  expect_same({.table = best,
               .num_threads = 2,
               .chunk = 33,
               .block_tokens = 192,
               .shuffle_seed = 8,
               .kv_mode = KvMode::kVirtual},
              "all of it, virtual");
  expect_same(
      {.table = best, .num_threads = 2, .chunk = 33, .block_tokens = 192, .shuffle_seed = 8},
      "all of it");
}

TEST_P(InvarianceTest, EveryKernelTableGivesTheSameAnswers) {
  const kernels::TableList tables = kernels::all_tables();
  for (size_t i = 0; i < tables.num; ++i) {
    if (kernels::cpu_supports(*tables.tables[i])) {
      expect_same({.table = tables.tables[i], .num_threads = 2, .chunk = 100},
                  tables.tables[i]->name);
    }
  }
}

// Decode of few sequences on several threads splits attention by segments.
TEST_P(InvarianceTest, SplittingByThreadsAndSegmentsDoesNotShow) {
  const TestRequest request = make_request(model_->hyper.vocab_size, 1100, 5, 77);
  const Answer expected = run_alone(model_, request, {.table = &kernels::best_table()});
  for (uint32_t threads : {2u, 4u, 8u}) {
    EXPECT_EQ(run_alone(model_, request, {.table = &kernels::best_table(), .num_threads = threads}),
              expected);
  }
}

TEST_P(InvarianceTest, ASharedPrefixGivesTheAnswerOfARecomputedOne) {
  TestRequest leader = make_request(model_->hyper.vocab_size, 200, 4, 3);
  TestRequest follower = make_request(model_->hyper.vocab_size, 180, 4, 4);
  std::copy(leader.prompt.begin(), leader.prompt.begin() + 128, follower.prompt.begin());
  const RunOptions options{.table = &kernels::best_table(), .num_threads = 2};
  const Answer expected = run_alone(model_, follower, options);
  StepDriver driver(model_, options);
  const SeqId first = driver.add(leader);
  driver.step({{first, 200}});
  const SeqId second = driver.add_sharing(follower, first, 2);
  while (driver.step_all()) {
  }
  EXPECT_EQ(driver.answer(second), expected);
  EXPECT_EQ(driver.answer(first), run_alone(model_, leader, options));
}

// n choices: siblings fork at prompt_len - 1 and recompute that position.
TEST_P(InvarianceTest, AForkedChoiceGivesTheAnswerOfOneThatRanAlone) {
  TestRequest choice = make_request(model_->hyper.vocab_size, 100, 6, 5);
  const RunOptions options{.table = &kernels::best_table(), .num_threads = 2};
  StepDriver driver(model_, options);
  const SeqId first = driver.add(choice);
  driver.step({{first, 100}});
  std::vector<SeqId> seqs = {first};
  for (choice.choice = 1; choice.choice < 4; ++choice.choice) {
    seqs.push_back(driver.add_fork(choice, first, 99));
  }
  while (driver.step_all()) {
  }
  for (choice.choice = 0; choice.choice < 4; ++choice.choice) {
    EXPECT_EQ(driver.answer(seqs[choice.choice]), run_alone(model_, choice, options))
        << choice.choice;
  }
  EXPECT_NE(driver.answer(seqs[0]), driver.answer(seqs[1]));
}

TEST_P(InvarianceTest, RecycledBlocksDoNotShow) {
  const RunOptions options{.table = &kernels::best_table(), .num_blocks = 4};
  const TestRequest before = make_request(model_->hyper.vocab_size, 250, 2, 6);
  const TestRequest after = make_request(model_->hyper.vocab_size, 70, 3, 7);
  StepDriver driver(model_, options);
  const SeqId first = driver.add(before);
  while (driver.step_all()) {
  }
  driver.destroy(first);
  driver.reuse_slots_of(first);
  const SeqId second = driver.add(after);
  while (driver.step_all()) {
  }
  EXPECT_EQ(driver.answer(second), run_alone(model_, after, options));
}

// C9: one sequence's cache is full of NaN; it ends with a fault, all others keep their bits.
TEST_P(InvarianceTest, APoisonedSequenceFaultsAloneInDecodeAndInChunks) {
  for (const uint32_t victim_chunk : {1u, 20u}) {
    const RunOptions options{.table = &kernels::best_table(), .num_threads = 2};
    StepDriver driver(model_, options);
    std::vector<SeqId> seqs;
    for (const TestRequest& request : reference(GetParam()).requests) {
      seqs.push_back(driver.add(request));
    }
    const TestRequest doomed = make_request(model_->hyper.vocab_size, 60, 5, 99);
    const SeqId victim = driver.add(doomed);
    driver.step({{victim, 40}});
    const std::span<std::byte> bytes = driver.backend().kv_block(driver.block_of(victim, 0));
    std::memset(bytes.data(), 0xFF, bytes.size());
    const StepResult& result = driver.step({{seqs[0], 1}, {victim, victim_chunk}});
    ASSERT_EQ(result.faults.size(), 1u);
    EXPECT_EQ(result.faults[0], (RowFault{.seq = victim, .layer = 0, .position = 40}));
    driver.destroy(victim);
    while (driver.step_all()) {
    }
    for (size_t i = 0; i < seqs.size(); ++i) {
      EXPECT_EQ(driver.answer(seqs[i]), reference(GetParam()).alone[i]) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Arch, InvarianceTest, ::testing::Values("llama", "gemma3"));

}  // namespace
}  // namespace stet::executor
