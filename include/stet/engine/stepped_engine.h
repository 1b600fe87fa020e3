// The engine without its thread, for whoever owns time: simulators and planners of capacity. It is
// the product's engine (the same EngineCore that Engine puts a thread around), so its plans are the
// product's plans: the same submissions, clock and backend give the same ones.
//
//   engine->submit(request);        // also from within Backend::wait: "while the step runs"
//   while (engine->step()) {...}    // false: nothing to compute until somebody submits
#pragma once

#include <memory>

#include "stet/engine/engine.h"
#include "stet/engine_types/step_plan.h"
#include "stet/kv/kv_cache.h"
#include "stet/sched/sched_view.h"

namespace stet::engine {

// Owned by one thread.
class SteppedEngine {
 public:
  // `backend`, `sink`, `clock` and `metrics` must outlive the engine.
  static Result<std::unique_ptr<SteppedEngine>> create(executor::Backend* backend, EventSink* sink,
                                                       const Clock* clock, obs::Metrics* metrics,
                                                       EngineOptions options);
  virtual ~SteppedEngine() = default;

  virtual Submission submit(Request request) = 0;
  virtual void cancel(RequestId request) = 0;  // honoured at the next step border
  // Plans, commits, submits to the backend, waits for it, applies. False: there was nothing to
  // compute.
  virtual bool step() noexcept = 0;
  virtual EngineStats stats() const = 0;

  // The step that runs (from within Backend::wait) or ran last. The view is what the plan was made
  // from: its block tables are those of before the commit, so ask kv() for them.
  virtual const StepPlan& last_plan() const = 0;
  virtual const sched::SchedView& last_view() const = 0;
  virtual const kv::KvCache& kv() const = 0;
};

}  // namespace stet::engine
