#include "stet/engine/engine.h"

#include <thread>
#include <utility>

#include "src/engine/engine_core.h"

namespace stet::engine {
namespace {

// Adds the step thread to EngineCore.
class ThreadedEngine final : public Engine {
 public:
  explicit ThreadedEngine(std::unique_ptr<EngineCore> core) : core_(std::move(core)) {}
  ~ThreadedEngine() override { stop(); }

  void start() override {
    thread_ = std::jthread([this](const std::stop_token& token) { run(token); });
  }
  Submission submit(Request request) override { return core_->submit(std::move(request)); }
  Submission submit_or_wait(Request request) override {
    return core_->submit_or_wait(std::move(request));
  }
  void cancel(RequestId request) override { core_->push(CommandKind::kCancel, request); }
  void finish_choice(RequestId request, uint32_t choice) override {
    core_->push(CommandKind::kFinishChoice, request, choice);
  }
  void set_parked(RequestId request, bool parked) override {
    core_->push(parked ? CommandKind::kPark : CommandKind::kUnpark, request);
  }
  void begin_drain() override { core_->begin_drain(); }
  void abort_all() override { core_->push(CommandKind::kAbortAll, RequestId{}); }

  void stop() override {
    if (std::exchange(stopped_, true)) {
      return;
    }
    core_->close();  // nothing is accepted from here on, so the abort finds everything
    abort_all();
    if (thread_.joinable()) {
      thread_.request_stop();
      core_->wake();
      thread_.join();
    } else {
      run_until_idle();
    }
  }
  EngineStats stats() const override { return core_->stats(); }
  std::vector<StepRecord> recent_steps() const override { return core_->recent_steps(); }
  uint32_t max_model_len() const override { return core_->max_model_len(); }

 private:
  void run(const std::stop_token& token) noexcept {
    while (!token.stop_requested()) {
      if (!core_->step()) {
        core_->wait_for_work();
      }
    }
    run_until_idle();
  }
  void run_until_idle() noexcept {
    while (core_->step()) {
    }
  }

  std::unique_ptr<EngineCore> core_;
  std::jthread thread_;
  bool stopped_ = false;
};

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(executor::Backend* backend, EventSink* sink,
                                               const Clock* clock, obs::Metrics* metrics,
                                               EngineOptions options) {
  STET_ASSIGN_OR_RETURN(std::unique_ptr<EngineCore> core,
                        EngineCore::create({.backend = backend,
                                            .sink = sink,
                                            .clock = clock,
                                            .metrics = metrics,
                                            .options = std::move(options),
                                            .kv = nullptr}));
  return std::unique_ptr<Engine>(std::make_unique<ThreadedEngine>(std::move(core)));
}

}  // namespace stet::engine
