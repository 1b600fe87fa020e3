// Decode rows that attend over a shared prefix together give the answers, and the K and V, of rows
// that run alone (C5, last rule).
#include <gtest/gtest.h>

#include "tests/executor/step_driver.h"

namespace stet::executor {
namespace {

std::shared_ptr<const model::Model> tiny_model_of(const std::string& arch) {
  testing::TinyModelSpec spec;
  spec.arch = arch;
  spec.num_layers = arch == "llama" ? 2 : 0;
  return load_tiny(spec);
}

constexpr uint32_t kPrompt = 700;

// A leader and those who share blocks with it: two lengths of prefix, prompts that end in different
// segments, somebody who shares too little.
struct Requests {
  explicit Requests(uint32_t vocab) : leader(make_request(vocab, kPrompt, 6, 1)) {
    for (const uint32_t shared : {640u, 384u, 640u, 128u, 384u, 640u}) {
      const auto i = static_cast<uint32_t>(followers.size());
      TestRequest request = make_request(vocab, shared + 10 + 60 * i, 6 + i, 2 + i);
      std::copy_n(leader.prompt.begin(), shared, request.prompt.begin());
      followers.push_back(request);
      tokens.push_back(shared);
    }
  }
  TestRequest leader;
  std::vector<TestRequest> followers;
  std::vector<uint32_t> tokens;  // shared with the leader
};

struct Outcome {
  std::vector<Answer> answers;
  std::vector<std::vector<std::byte>> kv;
  uint64_t grouped_rows = 0;
};

Outcome play(const std::shared_ptr<const model::Model>& model, const Requests& requests,
             const RunOptions& options) {
  StepDriver driver(model, options);
  std::vector<SeqId> seqs = {driver.add(requests.leader)};
  for (uint32_t done = 0; done < kPrompt - 1;) {
    const uint32_t num = std::min(options.chunk, kPrompt - 1 - done);
    driver.step({{seqs[0], num}});
    done += num;
  }
  for (size_t i = 0; i < requests.followers.size(); ++i) {
    seqs.push_back(driver.add_sharing(requests.followers[i], seqs[0],
                                      requests.tokens[i] / options.block_tokens));
  }
  // The prompts in chunks, so that all decode together afterwards.
  for (size_t i = 0; i < requests.followers.size(); ++i) {
    const auto length = static_cast<uint32_t>(requests.followers[i].prompt.size());
    driver.step({{seqs[i + 1], length - 1 - requests.tokens[i]}});
  }
  while (driver.step_all()) {
  }
  Outcome outcome;
  for (SeqId seq : seqs) {
    outcome.answers.push_back(driver.answer(seq));
    outcome.kv.push_back(driver.kv_of(seq));
  }
  outcome.grouped_rows = driver.backend().timings().num_grouped_rows;
  return outcome;
}

class GroupInvarianceTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GroupInvarianceTest, AnswersAndCacheAreThoseOfUngroupedRows) {
  const auto model = tiny_model_of(GetParam());
  const Requests requests(model->hyper.vocab_size);
  RunOptions options{.table = &kernels::best_table()};
  const Outcome alone = play(model, requests, options);
  EXPECT_EQ(alone.grouped_rows, 0u);
  EXPECT_EQ(alone.answers[0], run_alone(model, requests.leader, options));
  EXPECT_EQ(alone.answers[6], run_alone(model, requests.followers[5], options));
  const auto expect_same = [&](const char* what) {
    options.group = true;
    const Outcome together = play(model, requests, options);
    EXPECT_GT(together.grouped_rows, 20u) << what;
    EXPECT_TRUE(together.answers == alone.answers) << what;
    EXPECT_TRUE(together.kv == alone.kv) << what;
  };
  expect_same("1 thread");
  for (uint32_t threads : {2u, 3u, 8u, 16u}) {  // from 8 on divided by segments
    options.num_threads = threads;
    expect_same("threads");
  }
  const kernels::TableList tables = kernels::all_tables();
  for (size_t i = 0; i < tables.num; ++i) {
    if (kernels::cpu_supports(*tables.tables[i])) {
      options.table = tables.tables[i];
      for (uint32_t threads : {2u, 16u}) {
        options.num_threads = threads;
        expect_same(tables.tables[i]->name);
      }
    }
  }
}

TEST_P(GroupInvarianceTest, BlockSizeAndSlotsDoNotShow) {
  const auto model = tiny_model_of(GetParam());
  const Requests requests(model->hyper.vocab_size);
  const Outcome alone = play(model, requests, {.table = &kernels::best_table()});
  const Outcome together = play(model, requests,
                                {.table = &kernels::best_table(),
                                 .num_threads = 2,
                                 .block_tokens = 128,
                                 .shuffle_seed = 9,
                                 .group = true});
  EXPECT_GT(together.grouped_rows, 20u);
  EXPECT_TRUE(together.answers == alone.answers);
}

INSTANTIATE_TEST_SUITE_P(Arch, GroupInvarianceTest, ::testing::Values("llama", "gemma3"));

// ---- stale groups are a broken invariant

class GroupCheckDeathTest : public ::testing::Test {
 protected:
  // Two sequences that share 4 of their 5 blocks, one step into decoding, with this group.
  static void step_with(PrefixGroup group) {
    const auto model = tiny_model_of("llama");
    auto backend = CpuBackend::create({.model = model,
                                       .table = &kernels::best_table(),
                                       .num_threads = 1,
                                       .num_blocks = 8,
                                       .block_tokens = 64,
                                       .max_step_tokens = 512,
                                       .max_sequences = 4});
    StepBatch batch;
    for (uint32_t i = 0; i < 2; ++i) {
      NewSequence record;
      record.seq = SeqId{i + 1};
      record.max_blocks = 8;
      record.prompt_token_ids = {1};
      batch.new_sequences.push_back(record);
      batch.kv_ops.push_back({.kind = KvOpKind::kAppend, .seq = record.seq, .num_slots = 5});
      batch.kv_ops.back().slot_offset = 5 * i;
    }
    batch.kv_ops[1].kind = KvOpKind::kShare;
    for (uint32_t slot : {0u, 1u, 2u, 3u, 4u, 0u, 1u, 2u, 3u, 5u}) {
      batch.kv_slots.push_back(BlockId{slot});
    }
    StepResult result;
    (*backend)->wait((*backend)->submit(batch), &result);
    batch.clear();
    batch.step = 1;
    batch.rows = {{.seq = SeqId{1}, .first_pos = 300, .n_pos = 1, .token_offset = 0},
                  {.seq = SeqId{2}, .first_pos = 310, .n_pos = 1, .token_offset = 1}};
    batch.token_ids = {7, 8};
    batch.groups = {std::move(group)};
    (*backend)->wait((*backend)->submit(batch), &result);
  }
};

PrefixGroup pair(uint32_t shared_tokens) {
  return {.leader = SeqId{1}, .members = {SeqId{1}, SeqId{2}}, .shared_tokens = shared_tokens};
}

TEST_F(GroupCheckDeathTest, WhatIsReallySharedIsTaken) {
  step_with(pair(256));
}

TEST_F(GroupCheckDeathTest, WrongGroupsStopTheProcess) {
  EXPECT_DEATH(step_with(pair(320)), "beyond the shared part|hold the same blocks");
  EXPECT_DEATH(step_with(pair(200)), "tile border");
  PrefixGroup unknown = pair(256);
  unknown.members[1] = SeqId{9};
  EXPECT_DEATH(step_with(unknown), "has a row");
  PrefixGroup twice = pair(256);
  twice.members.push_back(SeqId{2});
  EXPECT_DEATH(step_with(twice), "disjoint");
}

}  // namespace
}  // namespace stet::executor
