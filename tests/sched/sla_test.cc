// The `sla` policy: least slack first, no admission that breaks an ITL target, most slack yields.
#include <gtest/gtest.h>

#include <vector>

#include "stet/sched/output_lengths.h"
#include "stet/sched/scheduler.h"

namespace stet::sched {
namespace {

Policy sla() {
  return std::move(make_policy("sla")).value();
}

TEST(SlaOrder, TheDeadlineLessThePrefillDecides) {
  const Policy policy = sla();
  const auto key = [&](const OrderInput& in) { return policy.order->key(in); };
  const OrderInput early{.arrival_us = 1'000'000, .ttft_target_us = 2'000'000};
  OrderInput tighter = early;
  tighter.arrival_us += 500'000;
  tighter.ttft_target_us = 1'000'000;
  EXPECT_LT(key(tighter), key(early));
  OrderInput longer = early;
  longer.arrival_us += 100'000;
  longer.prefill_us = 200'000;  // has to start sooner
  EXPECT_LT(key(longer), key(early));
  OrderInput without = early;
  without.ttft_target_us = 0;
  EXPECT_LT(key(early), key(without));
  OrderInput patient = early;  // who has no target is not overtaken for ever
  patient.arrival_us = without.arrival_us + 40'000'000;
  EXPECT_LT(key(without), key(patient));
  OrderInput first_class = early;
  first_class.priority_class = 7;
  EXPECT_LT(key(first_class), key(early));
  EXPECT_EQ(key({.prefill_us = UINT64_MAX}), 0u);  // never below nothing
}

// A machine on which a step of n decoding sequences takes 1 ms and n times 1 ms.
class SlaAdmission : public testing::Test {
 protected:
  void SetUp() override {
    for (uint32_t i = 0; i < 400; ++i) {
      const uint32_t n = 1 + i % 32;
      learned_.step_time.observe({.num_tokens = n}, 1000 + 1000 * n);
    }
    for (uint32_t i = 0; i < 4; ++i) {
      running_.push_back({.seq = SeqId{i + 1},
                          .order_key = i,
                          .num_known_tokens = 10,
                          .num_computed_tokens = 9,
                          .num_blocks = 1,
                          .max_blocks = 2,
                          .output = {.num_outputs = 2, .max_tokens = 20}});
    }
    waiting_.push_back({.seq = SeqId{9},
                        .order_key = 9,
                        .num_known_tokens = 10,
                        .max_blocks = 2,
                        .fork_source = {},
                        .output = {.max_tokens = 20}});
  }
  bool admits() {
    const SchedView view{.step = 1,
                         .num_blocks = 100,
                         .num_available_blocks = 96,
                         .max_step_tokens = 64,
                         .chunk_cap = 64,
                         .max_running = 64,
                         .max_new_sequences = 64,
                         .running = running_,
                         .waiting = waiting_,
                         .learned = &learned_};
    Policy policy = sla();
    StepPlan plan;
    scheduler_.plan(view, policy, &plan);
    return plan.admitted.size() == 1;
  }
  Learned learned_;
  std::vector<RunningSeq> running_;
  std::vector<WaitingSeq> waiting_;
  Scheduler scheduler_;
};

TEST_F(SlaAdmission, WithoutTargetsMemoryDecides) {
  EXPECT_TRUE(admits());
}

TEST_F(SlaAdmission, NobodyMakesAStepTooLongForWhoeverRuns) {
  // Five take 6 ms, four 5 ms, of which a target may use four fifths.
  running_[2].itl_target_us = 8'000;
  EXPECT_TRUE(admits());
  running_[2].itl_target_us = 7'000;
  EXPECT_FALSE(admits());
  EXPECT_EQ(scheduler_.admission_stop(), AdmissionStop::kTokenBudget);
}

TEST_F(SlaAdmission, TheCandidatesOwnTargetCounts) {
  waiting_[0].itl_target_us = 7'000;
  EXPECT_FALSE(admits());
}

TEST_F(SlaAdmission, ATargetThatIsMissedAnywayStopsNobody) {
  running_[2].itl_target_us = 3'000;
  EXPECT_TRUE(admits());
  waiting_[0].itl_target_us = 1'000;
  EXPECT_TRUE(admits());
}

TEST_F(SlaAdmission, AloneEverybodyStarts) {
  running_.clear();
  waiting_[0].itl_target_us = 1;
  EXPECT_TRUE(admits());
}

TEST(SlaVictim, MostSlackYieldsFirst) {
  const Policy policy = sla();
  const auto key = [&](uint64_t itl_target_us, uint32_t exclusive, uint32_t preemptions = 0) {
    return policy.victim->key({.num_exclusive_blocks = exclusive,
                               .num_preemptions = preemptions,
                               .itl_target_us = itl_target_us});
  };
  EXPECT_LT(key(0, 9), key(500'000, 1));
  EXPECT_LT(key(500'000, 9), key(100'000, 1));
  EXPECT_LT(key(100'000, 1), key(100'000, 9));
  EXPECT_LT(key(100'000, 9), key(100'000, 0));  // frees nothing
  EXPECT_LT(key(100'000, 9), key(0, 1, 2));     // has yielded twice
}

}  // namespace
}  // namespace stet::sched
