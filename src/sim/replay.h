// Replays a trace: the production engine, scheduler and KV cache on virtual time.
//
// Events are arrivals and step ends. An arrival within a step is submitted at its own moment (the
// engine sees it at the step's end, as in production); an idle engine jumps to the next arrival.
// The next turn of a program arrives its gap after the turn before has ended.
// The queue bounds and the queue timeout are open: what is judged is how long requests wait, not
// how many are refused.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "src/sim/quantiles.h"
#include "src/sim/sim_backend.h"
#include "src/sim/step_model.h"
#include "src/sim/trace.h"
#include "stet/base/status.h"
#include "stet/engine/stepped_engine.h"

namespace stet::sim {

// What a served request is judged by.
struct Sla {
  double ttft_s = 10.0;
  double gap_s = 1.5;  // the longest time between two tokens
};

// Looks at a step while it runs. Must change nothing.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  virtual void on_step(const engine::SteppedEngine& engine, const SimBackend& backend,
                       uint64_t now_us) = 0;
};

struct ReplayOptions {
  std::string policy = "past_future";
  uint32_t max_tokens = 0;    // of every request; 0 = default_max_tokens
  bool true_lengths = false;  // expected_output_tokens = the trace's length: the oracle
  bool late_last = false;     // every request names the SLA's TTFT as its target
  bool prefix_cache = false;
  bool batch_class = false;  // ServiceClass::kBatch
  kv::Eviction eviction = kv::Eviction::kLru;
  // What requests that are turns say of it:
  bool program_ids = true;        // program_id, turn, end_of_program
  bool expect_followups = false;  // expect_followup with the tool's name: contexts are pinned
  bool expected_gaps = false;     // ... and with expected_ms, which is the gap that will be
  Sla sla;
  uint64_t seed = 1;                 // of all token ids
  std::ostream* plan_log = nullptr;  // every plan as text
  StepObserver* observer = nullptr;
};

// A power of two that cuts no output, and 4096 at least: clients leave their limit large, and it is
// the limit that tells conservative admission from predicting one.
uint32_t default_max_tokens(const Trace& trace);

// Times on the trace's clock.
struct RequestOutcome {
  bool refused = false;  // prompt + max_tokens is more than the pool holds
  uint64_t submitted_us = 0;
  uint64_t first_scheduled_us = 0, first_token_us = 0, last_token_us = 0, ended_us = 0;
  uint64_t longest_gap_us = 0;
  uint32_t num_outputs = 0, num_preemptions = 0, cached_prompt_tokens = 0;
};

struct ReplayResult {
  std::vector<RequestOutcome> outcomes;  // beside Trace::requests
  LogHistogram gaps_us;                  // between any two tokens of a request
  SimWork work;
  kv::PinTotals pins;
  uint64_t end_us = 0;
  uint64_t num_preemptions = 0;
  double pool_use_mean = 0.0,
         pool_use_peak = 0.0;          // shares; the mean over time, idle time included
  uint64_t plan_digest = 0;            // equal for equal runs
  double scheduler_us_per_step = 0.0;  // host time of engine steps without the backend
  double host_s = 0.0;                 // of the whole replay
};

// `trace` is shaped already. Errors: an unknown policy; max_tokens that cuts an answer which a
// later turn goes on from.
Result<ReplayResult> replay(const Trace& trace, const MachineModel& machine,
                            const ReplayOptions& options);

}  // namespace stet::sim
