// Mode equality (kv.md sec. 13.6): paged and virtual KV give the same tokens, log-probabilities and
// bytes of every block, whatever was shared, forked, recycled or recomputed, and in any slots.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/executor/step_driver.h"

namespace stet::executor {
namespace {

struct StoryOutcome {
  std::vector<Answer> answers;
  std::vector<std::byte> pool;  // every block, written or not: the rest is poison
  KvMemoryStats stats;
};

std::vector<std::byte> bytes_of_pool(CpuBackend& backend) {
  std::vector<std::byte> pool;
  for (uint32_t i = 0; i < backend.info().num_blocks; ++i) {
    const std::span<const std::byte> block = backend.kv_block(BlockId{i});
    pool.insert(pool.end(), block.begin(), block.end());
  }
  return pool;
}

void finish(StepDriver& driver) {
  while (driver.step_all()) {
  }
}

// Leaders alone; followers that share and diverge; three forks of a partial block; one sequence
// that is destroyed midway and computed again from its first token, in the slots of others.
StoryOutcome run_story(const std::shared_ptr<const model::Model>& model,
                       const RunOptions& options) {
  const uint32_t vocab = model->hyper.vocab_size;
  StepDriver driver(model, options);
  std::vector<SeqId> seqs;
  const TestRequest leader = make_request(vocab, 300, 8, 3);
  TestRequest follower = make_request(vocab, 200, 8, 4);
  std::copy(leader.prompt.begin(), leader.prompt.begin() + 192, follower.prompt.begin());
  const TestRequest loner = make_request(vocab, 63, 70, 5);
  const TestRequest victim = make_request(vocab, 250, 8, 6);
  seqs.push_back(driver.add(leader));
  seqs.push_back(driver.add(loner));
  const SeqId preempted = driver.add(victim);
  for (int i = 0; i < 3; ++i) {
    driver.step_all();
  }
  driver.destroy(preempted);
  driver.reuse_slots_of(preempted);
  seqs.push_back(driver.add_sharing(follower, seqs[0], 1));
  TestRequest choice = leader;
  for (choice.choice = 1; choice.choice < 4; ++choice.choice) {
    seqs.push_back(driver.add_fork(choice, seqs[0], 299));
  }
  driver.step_all();
  seqs.push_back(driver.add(victim));
  finish(driver);
  StoryOutcome outcome;
  for (const SeqId seq : seqs) {
    outcome.answers.push_back(driver.answer(seq));
  }
  outcome.pool = bytes_of_pool(driver.backend());
  outcome.stats = driver.backend().kv_stats();
  return outcome;
}

class KvModeTest : public ::testing::TestWithParam<const char*> {};

TEST_P(KvModeTest, PagedAndVirtualGiveEqualAnswersAndEqualBytesOfEveryBlock) {
  testing::TinyModelSpec spec;
  spec.arch = GetParam();
  spec.num_layers = spec.arch == "llama" ? 2 : 0;
  const auto model = load_tiny(spec);
  std::vector<Answer> in_order;
  for (const uint64_t shuffle_seed : {0u, 9u}) {
    for (const uint32_t block_tokens : {64u, 128u}) {
      for (const uint32_t threads : {1u, 2u}) {
        RunOptions options{.table = &kernels::best_table(),
                           .num_threads = threads,
                           .chunk = 100,
                           .block_tokens = block_tokens,
                           .num_blocks = 64,
                           .shuffle_seed = shuffle_seed};
        const StoryOutcome paged = run_story(model, options);
        if (in_order.empty()) {
          in_order = paged.answers;
        }
        EXPECT_EQ(paged.answers, in_order);
        EXPECT_EQ(paged.stats.map_calls, 0u);
        options.kv_mode = KvMode::kVirtual;
        for (const bool guard : {false, true}) {
          for (const uint64_t max_maps : {0u, 24u}) {
            SCOPED_TRACE("shuffle " + std::to_string(shuffle_seed) + ", blocks of " +
                         std::to_string(block_tokens) + ", threads " + std::to_string(threads) +
                         ", guard " + std::to_string(guard) + ", maps " + std::to_string(max_maps));
            options.guard = guard;
            options.kv_max_maps = max_maps;
            const StoryOutcome found = run_story(model, options);
            EXPECT_EQ(found.answers, paged.answers);
            EXPECT_TRUE(found.pool == paged.pool);
            EXPECT_GT(found.stats.aliased_blocks, 0u);
            EXPECT_EQ(found.stats.paged_fallbacks > 0, max_maps != 0)
                << "maps " << found.stats.num_maps;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Arch, KvModeTest, ::testing::Values("llama", "gemma3"));

}  // namespace
}  // namespace stet::executor
