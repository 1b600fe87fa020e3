// Prefix groups from the scheduler to the backend, which checks that members really share.
#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

executor::FakeOptions long_fake() {
  executor::FakeOptions options = small_fake(nullptr);
  options.num_blocks = 64;
  options.max_model_len = 1024;
  options.max_step_tokens = 512;
  return options;
}

TEST(Groups, ChoicesOfALongPromptAttendTogetherUnderEveryPolicy) {
  for (const char* policy : {"fcfs_conservative", "aggressive", "past_future"}) {
    CoreHarness h({.policy = policy, .prefix_cache = false}, long_fake());
    Request request = make_request(400, 10, 5);
    request.num_choices = 4;
    const Submission s = h.core->submit(request);
    h.run();
    for (uint32_t choice = 0; choice < 4; ++choice) {
      EXPECT_EQ(h.seen(s.id).choices.at(choice).token_ids,
                h.backend->model().solo(request, choice).output_token_ids);
    }
    EXPECT_GE(h.backend->num_grouped_rows(), 4u * 7) << policy;
  }
}

TEST(Groups, RequestsOverOneDocumentAttendTogether) {
  CoreHarness h({.prefix_cache = true}, long_fake());
  const Request document = make_request(330, 2, 5);
  h.core->submit(document);
  h.run();
  EXPECT_EQ(h.backend->num_grouped_rows(), 0u);
  std::vector<Request> requests;
  std::vector<Submission> submissions;
  for (uint32_t i = 0; i < 5; ++i) {
    requests.push_back(document);
    requests.back().sampling.max_tokens = 8 + i;
    requests.back().prompt_token_ids.push_back(900 + i);
    submissions.push_back(h.core->submit(requests.back()));
  }
  h.run();
  for (uint32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(h.seen(submissions[i].id).choices.at(0).token_ids,
              h.backend->model().solo(requests[i], 0).output_token_ids);
  }
  EXPECT_GE(h.backend->num_grouped_rows(), 5u * 6);
}

// ---- the fake backend's own check can fail

PrefixGroup group(std::vector<uint64_t> members, uint32_t shared_tokens) {
  PrefixGroup g{.leader = SeqId{members.front()}, .members = {}, .shared_tokens = shared_tokens};
  for (uint64_t id : members) {
    g.members.push_back(SeqId{id});
  }
  return g;
}

// Three sequences of 330 tokens; 1 and 2 share five blocks, 3 has its own. Then one row each.
std::vector<std::string> violations_of(const std::vector<PrefixGroup>& groups) {
  std::vector<std::string> seen;
  executor::FakeOptions options = long_fake();
  options.max_step_tokens = 1024;
  options.on_violation = [&](const std::string& what) { seen.push_back(what); };
  executor::FakeBackend backend(options);
  const std::vector<uint32_t> tokens = make_request(330, 1, 3).prompt_token_ids;
  StepBatch batch;
  const auto add = [&](uint64_t seq, KvOpKind kind, uint32_t first_slot, uint32_t num_slots) {
    batch.kv_ops.push_back({.kind = kind,
                            .seq = SeqId{seq},
                            .slot_offset = static_cast<uint32_t>(batch.kv_slots.size()),
                            .num_slots = num_slots});
    for (uint32_t i = 0; i < num_slots; ++i) {
      batch.kv_slots.push_back(BlockId{first_slot + i});
    }
  };
  const auto row = [&](uint64_t seq, uint32_t first, uint32_t num) {
    batch.rows.push_back({.seq = SeqId{seq},
                          .first_pos = first,
                          .n_pos = num,
                          .token_offset = static_cast<uint32_t>(batch.token_ids.size())});
    batch.token_ids.insert(batch.token_ids.end(), tokens.begin() + first,
                           tokens.begin() + first + num);
  };
  for (uint64_t seq : {1, 2, 3}) {
    NewSequence record;
    record.seq = SeqId{seq};
    record.prompt_token_ids = tokens;
    batch.new_sequences.push_back(record);
  }
  add(1, KvOpKind::kAppend, 0, 6);
  add(3, KvOpKind::kAppend, 10, 6);
  row(1, 0, 329);
  row(3, 0, 329);
  StepResult result;
  backend.wait(backend.submit(batch), &result);
  batch.clear();
  batch.step = 1;
  add(2, KvOpKind::kShare, 0, 5);
  add(2, KvOpKind::kAppend, 20, 1);
  row(2, 320, 9);
  backend.wait(backend.submit(batch), &result);
  batch.clear();
  batch.step = 2;
  for (uint64_t seq : {1, 2, 3}) {
    row(seq, 329, 1);
  }
  batch.groups = groups;
  backend.wait(backend.submit(batch), &result);
  return seen;
}

TEST(Groups, TheFakeBackendSeesEveryWrongGroup) {
  EXPECT_EQ(violations_of({group({1, 2}, 320)}), std::vector<std::string>{});
  EXPECT_EQ(violations_of({group({1, 2}, 256)}), std::vector<std::string>{});
  const auto expect_one = [](const std::vector<PrefixGroup>& groups, const std::string& part) {
    const std::vector<std::string> seen = violations_of(groups);
    ASSERT_EQ(seen.size(), 1u) << part;
    EXPECT_NE(seen[0].find(part), std::string::npos) << seen[0];
  };
  expect_one({group({1, 3}, 320)}, "holds other blocks");
  expect_one({group({1, 2}, 384)}, "has not computed");
  expect_one({group({1, 2}, 300)}, "no tile border");
  expect_one({group({1}, 320)}, "fewer than two");
  expect_one({group({1, 7}, 320)}, "no row of one position");
  EXPECT_EQ(violations_of({group({1, 2}, 320), group({2, 1}, 256)}).size(), 2u);  // each, once
}

}  // namespace
}  // namespace stet::engine
