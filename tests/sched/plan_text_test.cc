// Every *.plan file here is a test: a pool, requests, and the plans that must come out. Adding a
// case needs no C++.
//
//   policy NAME                     pool BLOCKS TOKENS_PER_BLOCK          budget TOKENS
//   max_running N                   chunk_cap N                           short_first PERCENT
//   step_budget TOKENS              (of every step, where a target makes it smaller than budget)
//   request ID prompt N max_tokens N [output N] [arrive STEP] [hit TOKENS] [class 0..7] [hint N]
//   finished COUNT LENGTH           (requests that ended before the first step)
//   expect
//   step 1
//     run 1 [0, 100) +2 sample
//     admit 1
//
// `output` = tokens until it ends (max_tokens unless given); `hit` = tokens of its prompt that are
// cached when it first starts; `arrive` = first step that sees it; `hint` = expected_output_tokens.
// What ends within the play teaches as in the engine. Lines before `expect` may come in any order;
// # starts a comment.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "stet/sched/output_lengths.h"
#include "stet/sched/scheduler.h"

namespace stet::sched {
namespace {

struct PlanRequest {
  uint64_t id = 0;
  uint32_t prompt = 1, max_tokens = 1, output = 0, arrive = 1, hit = 0, priority = 4, hint = 0;
  // progress
  uint32_t num_outputs = 0, num_computed = 0, num_blocks = 0, num_preemptions = 0;
  uint64_t order_key = 0;
  bool running = false, ended = false;
};

struct PlanCase {
  std::string policy = "fcfs_conservative";
  SchedView view;
  std::vector<PlanRequest> requests;
  std::vector<std::pair<uint32_t, uint32_t>> finished;  // count, length
  std::string expected;
  uint32_t num_steps = 0;
};

PlanRequest read_request(std::istringstream& line) {
  PlanRequest r;
  line >> r.id;
  std::string key;
  const std::map<std::string, uint32_t*> fields = {
      {"prompt", &r.prompt}, {"max_tokens", &r.max_tokens},
      {"output", &r.output}, {"arrive", &r.arrive},
      {"hit", &r.hit},       {"class", &r.priority},
      {"hint", &r.hint}};
  while (line >> key) {
    line >> *fields.at(key);
  }
  r.output = r.output == 0 ? r.max_tokens : r.output;
  return r;
}

PlanCase read_case(const std::filesystem::path& path) {
  PlanCase c;
  c.view.max_running = c.view.max_step_tokens = 256;
  std::ifstream file(path);
  std::string text;
  bool expecting = false;
  while (std::getline(file, text)) {
    if (text.empty() || text[0] == '#') {
      continue;
    }
    if (expecting) {
      c.expected += text + "\n";
      c.num_steps += text.rfind("step ", 0) == 0 ? 1 : 0;
      continue;
    }
    std::istringstream line(text);
    std::string key;
    line >> key;
    const std::map<std::string, uint32_t*> numbers = {{"budget", &c.view.max_step_tokens},
                                                      {"max_running", &c.view.max_running},
                                                      {"chunk_cap", &c.view.chunk_cap},
                                                      {"short_first", &c.view.short_first_percent},
                                                      {"step_budget", &c.view.token_budget}};
    if (key == "policy") {
      line >> c.policy;
    } else if (key == "pool") {
      line >> c.view.num_blocks >> c.view.block_tokens;
    } else if (key == "request") {
      c.requests.push_back(read_request(line));
    } else if (key == "finished") {
      auto& [count, outputs] = c.finished.emplace_back();
      line >> count >> outputs;
    } else if (key == "expect") {
      expecting = true;
    } else {
      line >> *numbers.at(key);
    }
  }
  return c;
}

// Plays the plans against bare counts: no block table, no sharing but the hits.
class Player {
 public:
  explicit Player(PlanCase plan_case)
      : case_(std::move(plan_case)), policy_(std::move(make_policy(case_.policy)).value()) {
    case_.view.chunk_cap =
        case_.view.chunk_cap == 0 ? case_.view.max_step_tokens : case_.view.chunk_cap;
    case_.view.num_available_blocks = case_.view.num_blocks;
    case_.view.max_new_sequences = UINT32_MAX;
    case_.view.learned = &learned_;
    class_ = learned_.lengths.class_of("", 1);  // one for all
    for (const auto& [count, outputs] : case_.finished) {
      for (uint32_t i = 0; i < count; ++i) {
        learned_.on_finish({.num_outputs = outputs, .max_tokens = outputs, .length_class = class_},
                           false);
      }
    }
    for (PlanRequest& r : case_.requests) {
      r.order_key = policy_.order->key(
          {.arrival_us = r.arrive, .priority_class = static_cast<uint8_t>(r.priority)});
    }
    std::stable_sort(
        case_.requests.begin(), case_.requests.end(),
        [](const PlanRequest& a, const PlanRequest& b) { return a.order_key < b.order_key; });
  }

  std::string play() {
    std::string text;
    for (uint32_t step = 1; step <= case_.num_steps; ++step) {
      StepPlan plan;
      look(step);
      learned_.lengths.refresh(case_.view);
      scheduler_.plan(case_.view, policy_, &plan);
      text += plan.to_string();
      apply(plan);
    }
    return text;
  }

 private:
  void look(uint32_t step) {
    running_.clear();
    waiting_.clear();
    for (const PlanRequest& r : case_.requests) {
      const uint32_t known = r.prompt + r.num_outputs;
      const uint32_t max_blocks = blocks_for(r.prompt + r.max_tokens, case_.view.block_tokens);
      const OutputState output = output_state(r);
      if (r.running) {
        running_.push_back({.seq = SeqId{r.id},
                            .order_key = r.order_key,
                            .num_known_tokens = known,
                            .num_computed_tokens = r.num_computed,
                            .num_blocks = r.num_blocks,
                            .num_exclusive_blocks = r.num_blocks,
                            .max_blocks = max_blocks,
                            .num_preemptions = r.num_preemptions,
                            .output = output});
      } else if (!r.ended && step >= r.arrive) {
        const uint32_t hit = r.num_preemptions == 0 ? r.hit : 0;
        waiting_.push_back({.seq = SeqId{r.id},
                            .order_key = r.order_key,
                            .num_known_tokens = known,
                            .first_pos = hit,
                            .num_unreferenced_blocks = hit / case_.view.block_tokens,
                            .max_blocks = max_blocks,
                            .num_preemptions = r.num_preemptions,
                            .fork_source = {},
                            .output = output});
      }
    }
    case_.view.step = step;
    case_.view.running = running_;
    case_.view.waiting = waiting_;
  }

  OutputState output_state(const PlanRequest& r) const {
    return {.num_outputs = r.num_outputs,
            .max_tokens = r.max_tokens,
            .expected_outputs = r.hint,
            .length_class = class_};
  }

  PlanRequest& find(SeqId seq) {
    return *std::find_if(case_.requests.begin(), case_.requests.end(),
                         [&](const PlanRequest& r) { return r.id == seq.v; });
  }

  void give_up(PlanRequest& r) {
    case_.view.num_available_blocks += r.num_blocks;
    r.num_blocks = r.num_computed = 0;
    r.running = false;
  }

  void apply(const StepPlan& plan) {
    for (SeqId seq : plan.preempted) {
      give_up(find(seq));
      ++find(seq).num_preemptions;
      learned_.on_preempt();
    }
    uint32_t num_tokens = 0;
    for (const ScheduledSeq& s : plan.scheduled) {
      PlanRequest& r = find(s.seq);
      if (!r.running) {
        r.running = true;
        r.num_blocks = s.first_pos / case_.view.block_tokens;
        case_.view.num_available_blocks -= r.num_blocks;
      }
      r.num_blocks += s.num_new_blocks;
      case_.view.num_available_blocks -= s.num_new_blocks;
      r.num_computed = s.first_pos + s.num_scheduled_tokens;
      num_tokens += s.num_scheduled_tokens;
      r.num_outputs += s.sample ? 1 : 0;
      EXPECT_EQ(r.num_blocks, blocks_for(r.num_computed, case_.view.block_tokens));
      if (r.num_outputs == r.output) {
        r.ended = true;
        learned_.on_finish(output_state(r), r.output == r.max_tokens);
        give_up(r);
      }
    }
    EXPECT_LE(num_tokens, case_.view.max_step_tokens);
    EXPECT_LE(case_.view.num_available_blocks, case_.view.num_blocks)
        << "more blocks taken than there are";
  }

  PlanCase case_;
  Policy policy_;
  Learned learned_;
  LengthClass class_;
  Scheduler scheduler_;
  std::vector<RunningSeq> running_;
  std::vector<WaitingSeq> waiting_;
};

std::vector<std::string> plan_files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(STET_PLAN_DIR)) {
    if (entry.path().extension() == ".plan") {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

class PlanText : public testing::TestWithParam<std::string> {};

TEST_P(PlanText, ComesOutAsWritten) {
  const PlanCase plan_case =
      read_case(std::filesystem::path(STET_PLAN_DIR) / (GetParam() + ".plan"));
  ASSERT_GT(plan_case.num_steps, 0u);
  EXPECT_EQ(Player(plan_case).play(), plan_case.expected);
}

INSTANTIATE_TEST_SUITE_P(Files, PlanText, testing::ValuesIn(plan_files()),
                         [](const auto& file) { return file.param; });

TEST(PlanText, AWrongExpectationIsSeen) {
  PlanCase plan_case = read_case(std::filesystem::path(STET_PLAN_DIR) / "one_request.plan");
  const std::string played = Player(plan_case).play();
  plan_case.requests[0].prompt += 1;
  EXPECT_NE(Player(plan_case).play(), played);
}

}  // namespace
}  // namespace stet::sched
