// What admission costs and saves on the long-output trace of scheduler.md sec. 10: the production
// scheduler on bare block counts, with the assumed step times of `70B/H200-like`. No prefix cache,
// no GPU, one choice per request.
//
//   admission_bench --rate 1.3 --requests 4000 [--policy NAME] [--warm]
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "stet/sched/output_lengths.h"
#include "stet/sched/scheduler.h"

namespace stet::sched {
namespace {

constexpr uint32_t kBlockTokens = 64;
constexpr uint32_t kPoolBlocks = 196'000 / kBlockTokens;
constexpr uint32_t kMaxStepTokens = 2048;
constexpr uint32_t kMaxTokens = 8192;
constexpr double kTtftTarget = 10.0, kGapTarget = 1.5;  // seconds

struct Call {
  double arrival = 0.0, first_token = 0.0, last_token = 0.0, longest_gap = 0.0;
  uint32_t prompt = 0, output = 0;
  uint32_t num_outputs = 0, num_computed = 0, num_blocks = 0, num_preemptions = 0;
  bool running = false;
  LengthClass length_class;
};

double step_seconds(const StepPlan& plan) {
  double decode_context = 0.0, chunk_context = 0.0;
  for (const ScheduledSeq& s : plan.scheduled) {
    (s.num_scheduled_tokens == 1 ? decode_context : chunk_context) +=
        static_cast<double>(s.num_scheduled_tokens) * s.first_pos;
  }
  return 0.002 + std::max(0.0175, 0.14e-3 * plan.num_tokens()) + 0.08e-6 * decode_context +
         5.2e-9 * chunk_context;
}

class Trace {
 public:
  Trace(double rate, uint32_t num_requests, bool true_lengths, bool warm)
      : true_lengths_(true_lengths) {
    std::mt19937_64 random(7);
    std::exponential_distribution<double> gap(rate);
    std::lognormal_distribution<double> prompt(5.6, 0.8), output(7.2, 0.8);
    double at = 0.0;
    for (uint32_t i = 0; i < num_requests; ++i) {
      at += gap(random);
      Call& call = calls_.emplace_back();
      call.arrival = at;
      call.prompt = static_cast<uint32_t>(std::clamp(prompt(random), 20.0, 4000.0));
      call.output = static_cast<uint32_t>(std::clamp(output(random), 20.0, 8192.0));
      call.length_class = learned_.lengths.class_of("", call.prompt);
    }
    for (uint32_t i = 0; i < (warm ? 1000 : 0); ++i) {
      const auto outputs = static_cast<uint32_t>(std::clamp(output(random), 20.0, 8192.0));
      learned_.on_finish(
          {.num_outputs = outputs, .length_class = calls_[i % num_requests].length_class}, false);
    }
  }

  void run(std::string_view policy_name) {
    Policy policy = std::move(make_policy(policy_name)).value();
    while (num_ended_ < calls_.size()) {
      look();
      if (running_.empty() && waiting_.empty()) {
        now_ = calls_[num_arrived_].arrival;
        continue;
      }
      scheduler_.plan(view_, policy, &plan_);
      apply();
    }
    report(policy_name);
  }

 private:
  OutputState output_state(const Call& c) const {
    return {.num_outputs = c.num_outputs,
            .max_tokens = kMaxTokens,
            .expected_outputs = true_lengths_ ? c.output : 0,
            .length_class = c.length_class};
  }

  // Arrival order is index order, and everybody not ended stands from first_open_ on.
  void look() {
    while (num_arrived_ < calls_.size() && calls_[num_arrived_].arrival <= now_) {
      ++num_arrived_;
    }
    running_.clear();
    waiting_.clear();
    while (first_open_ < num_arrived_ && ended(calls_[first_open_])) {
      ++first_open_;
    }
    for (uint32_t i = first_open_; i < num_arrived_; ++i) {
      const Call& c = calls_[i];
      const uint32_t known = c.prompt + c.num_outputs;
      const uint32_t max_blocks = blocks_for(c.prompt + kMaxTokens, kBlockTokens);
      if (c.running) {
        running_.push_back({.seq = SeqId{i},
                            .order_key = i,
                            .num_known_tokens = known,
                            .num_computed_tokens = c.num_computed,
                            .num_blocks = c.num_blocks,
                            .num_exclusive_blocks = c.num_blocks,
                            .max_blocks = max_blocks,
                            .num_preemptions = c.num_preemptions,
                            .output = output_state(c)});
      } else if (!ended(c) && waiting_.size() < 64) {
        waiting_.push_back({.seq = SeqId{i},
                            .order_key = i,
                            .num_known_tokens = known,
                            .max_blocks = max_blocks,
                            .num_preemptions = c.num_preemptions,
                            .fork_source = {},
                            .output = output_state(c)});
      }
    }
    view_ = {.step = ++step_,
             .block_tokens = kBlockTokens,
             .num_blocks = kPoolBlocks,
             .num_available_blocks = num_available_,
             .max_step_tokens = kMaxStepTokens,
             .chunk_cap = kMaxStepTokens,
             .max_running = kMaxStepTokens,
             .max_new_sequences = kMaxStepTokens,
             .running = running_,
             .waiting = waiting_,
             .learned = &learned_};
    learned_.lengths.refresh(view_);
  }
  static bool ended(const Call& c) { return c.num_outputs == c.output; }

  void give_up(Call& c) {
    num_available_ += c.num_blocks;
    c.num_blocks = c.num_computed = 0;
    c.running = false;
  }

  void apply() {
    for (const SeqId seq : plan_.preempted) {
      give_up(calls_[seq.v]);
      ++calls_[seq.v].num_preemptions;
      ++num_preemptions_;
      learned_.on_preempt();
    }
    const double seconds = step_seconds(plan_);
    now_ += seconds;
    for (const ScheduledSeq& s : plan_.scheduled) {
      Call& c = calls_[s.seq.v];
      const bool prefills = c.prompt + c.num_outputs > s.first_pos + 1;
      num_prefilled_ += prefills ? s.num_scheduled_tokens : 0;
      c.running = true;
      c.num_blocks += s.num_new_blocks;
      num_available_ -= s.num_new_blocks;
      c.num_computed = s.first_pos + s.num_scheduled_tokens;
      if (s.sample) {
        take_token(c);
      }
    }
    used_ += seconds * (kPoolBlocks - num_available_) / kPoolBlocks;
  }

  void take_token(Call& c) {
    c.first_token = c.num_outputs == 0 ? now_ : c.first_token;
    c.longest_gap = c.num_outputs == 0 ? 0.0 : std::max(c.longest_gap, now_ - c.last_token);
    c.last_token = now_;
    ++c.num_outputs;
    if (ended(c)) {
      ++num_ended_;
      learned_.on_finish(output_state(c), c.output == kMaxTokens);
      give_up(c);
    }
  }

  void report(std::string_view policy_name) const {
    uint64_t in_sla = 0, prompts = 0;
    double queued = 0.0;
    for (const Call& c : calls_) {
      in_sla += c.first_token - c.arrival <= kTtftTarget && c.longest_gap <= kGapTarget ? 1 : 0;
      prompts += c.prompt;
      queued += c.first_token - c.arrival;
    }
    const auto n = static_cast<double>(calls_.size());
    std::printf("| %s%s | %.1f | %llu | %.1f %% | %.1f | %.0f %% |\n",
                std::string(policy_name).c_str(), true_lengths_ ? ", true lengths" : "",
                100.0 * static_cast<double>(in_sla) / n,
                static_cast<unsigned long long>(num_preemptions_),
                100.0 * (1.0 - static_cast<double>(prompts) / static_cast<double>(num_prefilled_)),
                queued / n, 100.0 * used_ / now_);
  }

  const bool true_lengths_;
  std::vector<Call> calls_;
  Learned learned_;
  Scheduler scheduler_;
  StepPlan plan_;
  SchedView view_;
  std::vector<RunningSeq> running_;
  std::vector<WaitingSeq> waiting_;
  double now_ = 0.0, used_ = 0.0;
  uint64_t step_ = 0, num_preemptions_ = 0, num_prefilled_ = 0, num_ended_ = 0;
  uint32_t num_arrived_ = 0, first_open_ = 0, num_available_ = kPoolBlocks;
};

}  // namespace
}  // namespace stet::sched

int main(int argc, char** argv) {
  double rate = 1.3;
  uint32_t num_requests = 1500;
  std::string only;
  bool warm = false;
  CLI::App app("Admission policies on the long-output trace");
  app.add_option("--rate", rate, "requests per second");
  app.add_option("--requests", num_requests, "requests of the run");
  app.add_option("--policy", only, "one policy instead of all");
  app.add_flag("--warm", warm, "the history is full when the run starts");
  CLI11_PARSE(app, argc, argv);
  std::printf(
      "| %.2f requests/s | %% in SLA | preemptions | recomputed | mean TTFT s | pool used "
      "|\n|---|---|---|---|---|---|\n",
      rate);
  for (const std::string_view name : stet::sched::policy_names()) {
    for (const bool true_lengths : {false, true}) {
      if ((only.empty() || only == name) && (!true_lengths || name == "past_future")) {
        stet::sched::Trace(rate, num_requests, true_lengths, warm).run(name);
      }
    }
  }
  return 0;
}
