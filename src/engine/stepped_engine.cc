#include "stet/engine/stepped_engine.h"

#include <utility>

#include "src/engine/engine_core.h"

namespace stet::engine {
namespace {

class CoreStepper final : public SteppedEngine {
 public:
  explicit CoreStepper(std::unique_ptr<EngineCore> core) : core_(std::move(core)) {}

  Submission submit(Request request) override { return core_->submit(std::move(request)); }
  void cancel(RequestId request) override { core_->push(CommandKind::kCancel, request); }
  bool step() noexcept override { return core_->step(); }
  EngineStats stats() const override { return core_->stats(); }
  const StepPlan& last_plan() const override { return core_->last_plan(); }
  const sched::SchedView& last_view() const override { return core_->last_view(); }
  const kv::KvCache& kv() const override { return core_->kv(); }

 private:
  const std::unique_ptr<EngineCore> core_;
};

}  // namespace

Result<std::unique_ptr<SteppedEngine>> SteppedEngine::create(executor::Backend* backend,
                                                             EventSink* sink, const Clock* clock,
                                                             obs::Metrics* metrics,
                                                             EngineOptions options) {
  STET_ASSIGN_OR_RETURN(std::unique_ptr<EngineCore> core,
                        EngineCore::create({.backend = backend,
                                            .sink = sink,
                                            .clock = clock,
                                            .metrics = metrics,
                                            .options = std::move(options),
                                            .kv = nullptr}));
  return std::unique_ptr<SteppedEngine>(std::make_unique<CoreStepper>(std::move(core)));
}

}  // namespace stet::engine
