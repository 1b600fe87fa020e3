#include "stet/daemon/daemon.h"

#include <google/protobuf/util/json_util.h>
#include <sys/random.h>

#include <array>
#include <atomic>
#include <mutex>
#include <span>
#include <utility>

#include "src/daemon/address.h"
#include "src/daemon/lifecycle.h"
#include "src/daemon/memory.h"
#include "src/daemon/options.h"
#include "src/daemon/self_test.h"
#include "src/daemon/served_model.h"
#include "src/daemon/version.h"
#include "src/daemon/watchdog.h"
#include "stet/base/clock.h"
#include "stet/base/sha256.h"
#include "stet/daemon/local_client.h"
#include "stet/engine/engine.h"
#include "stet/executor/cpu_backend.h"
#include "stet/executor/cpu_topology.h"
#include "stet/formats/tensor_index.h"
#include "stet/model/model.h"
#include "stet/obs/log.h"
#include "stet/obs/metrics.h"
#include "stet/proxy/openai_server.h"
#include "stet/server/grpc_server.h"
#include "stet/server/scheduler_page.h"

namespace stet::daemon {
namespace {

using obs::log_info;
using server::ServingState;

constexpr uint64_t kLastWordsMs =
    700;  // for endings to reach clients after the time for work is over
constexpr uint64_t kCloseGraceUs = 200'000;
constexpr uint64_t kMaxWatchdogTickUs = 1'000'000;

// Tenant salt: nobody outside can guess a cache key (operations.md sec. 8).
std::string random_salt() {
  std::array<uint8_t, 32> bytes{};
  STET_CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
             "getrandom gives 32 bytes");
  return to_hex(bytes);
}

StartFailure model_failure(const std::string& path, const Status& status) {
  const bool missing =
      status.code() == StatusCode::kNotFound || status.code() == StatusCode::kPermissionDenied;
  const bool memory = status.code() == StatusCode::kResourceExhausted;
  return {missing  ? ExitCode::kModelMissing
          : memory ? ExitCode::kDoesNotFit
                   : ExitCode::kModelInvalid,
          status.message().find(path) == std::string::npos ? path + ": " + status.message()
                                                           : status.message()};
}

class DaemonImpl final : public Daemon {
 public:
  DaemonImpl(EffectiveConfig config, DaemonHooks hooks)
      : config_(std::move(config.values)),
        hooks_(std::move(hooks)),
        start_unix_ms_(wall_clock_unix_ms()) {}

  ~DaemonImpl() override {
    lifecycle_.request_end();
    stop_everything();
  }

  std::optional<StartFailure> start() override {
    const uint64_t start_us = clock_.now_us();
    log_info("daemon", "starting", {{"version", version()}, {"build", commit()}});
    for (const auto step : {&DaemonImpl::bind, &DaemonImpl::load, &DaemonImpl::warm}) {
      if (auto failure = (this->*step)()) {
        return failure;
      }
    }
    set_state(ServingState::kReady);
    log_info("daemon", "ready",
             {{"model", model_id_},
              {"fingerprint", fingerprint_},
              {"numerics", model_->numerics_id_hex()},
              {"grpc", grpc_address()},
              {"openai", openai_address()},
              {"admin_grpc", admin_address()},
              {"device", backend_->info().device},
              {"max_model_len", engine_->max_model_len()},
              {"kv_tokens", uint64_t{plan_.num_blocks} * plan_.block_tokens},
              {"start_ms", (clock_.now_us() - start_us) / 1000}});
    return std::nullopt;
  }

  void begin_drain() override { lifecycle_.request_drain({config_.drain().timeout_ms(), true}); }
  void end_now() override { lifecycle_.request_end(); }

  ExitCode wait() override {
    const Lifecycle::DrainRequest request = lifecycle_.wait_for_drain();
    const ExitCode code = drain(request.timeout_ms);
    lifecycle_.wait_for_exit();
    stop_everything();
    lifecycle_.set_state(ServingState::kStopped);
    log_info("daemon", "stopped", {{"exit", static_cast<int>(code)}});
    return code;
  }

  proxy::InferenceClient* local_client() override { return client_.get(); }
  ServingState state() const override { return lifecycle_.state(); }
  bool live() const override { return live_.load(std::memory_order_relaxed); }

  std::string grpc_address() const override {
    return bound_address(config_.listen().grpc(), grpc_ ? grpc_->port() : 0);
  }
  std::string admin_address() const override {
    return bound_address(daemon::admin_address(config_.listen()), grpc_ ? grpc_->admin_port() : 0);
  }
  std::string openai_address() const override {
    return bound_address(config_.listen().openai(), http_ ? http_->port() : 0);
  }

  void log_state() const override {
    engine::EngineStats stats;
    size_t num_calls = 0;
    {
      std::lock_guard lock(parts_mutex_);
      stats = engine_ ? engine_->stats() : stats;
      num_calls = service_ ? service_->num_calls() : 0;
    }
    log_info("daemon", "state",
             {{"state", server::serving_state_name(state())},
              {"live", live()},
              {"calls", num_calls},
              {"steps", stats.num_steps},
              {"running", stats.num_running},
              {"waiting", stats.num_waiting},
              {"parked", stats.num_parked},
              {"waiting_prompt_tokens", stats.num_waiting_prompt_tokens},
              {"blocks", stats.num_blocks},
              {"blocks_used", stats.num_blocks_used},
              {"blocks_cached", stats.num_blocks_cached},
              {"accepted", stats.accepted},
              {"ended", stats.ended},
              {"preemptions", stats.preemptions},
              {"generated_tokens", stats.generated_tokens},
              {"dropped_log_lines", obs::dropped_log_lines()}});
  }

 private:
  // ---- start

  std::optional<StartFailure> bind() {
    auto service = server::Service::create(limits_of(config_), &clock_, &metrics_);
    {
      std::lock_guard lock(parts_mutex_);
      service_ = std::move(service);
    }
    sink_ = std::make_unique<SinkSwitch>(service_->engine_sink());
    make_client();
    if (auto failure = bind_http()) {
      return failure;
    }
    auto grpc = server::GrpcServer::start(grpc_options_of(config_), service_.get(), admin_hooks());
    if (!grpc.ok()) {
      return StartFailure{ExitCode::kUnavailable, grpc.status().message()};
    }
    grpc_ = std::move(*grpc);
    if (http_) {
      http_->start();
    }
    set_state(ServingState::kLoading);
    return std::nullopt;
  }

  void make_client() {
    LocalClientOptions options;
    options.max_message_bytes = config_.limits().max_request_bytes();
    options.ready = [this] {
      const ServingState now = state();
      return proxy::ReadyState{now == ServingState::kReady,
                               std::string(server::serving_state_name(now))};
    };
    options.live = [this] { return live(); };
    options.version = version();
    client_ = make_local_client(service_.get(), &clock_, std::move(options));
  }

  std::optional<StartFailure> bind_http() {
    if (config_.listen().openai().empty()) {
      return std::nullopt;
    }
    proxy::HttpOptions options = http_options_of(config_);
    options.commit = commit();
    options.debug_scheduler = [this] { return server::scheduler_page(*service_); };
    auto http = proxy::OpenAiServer::create(options, client_.get(), &metrics_);
    if (!http.ok()) {
      return StartFailure{ExitCode::kUnavailable, http.status().message()};
    }
    http_ = std::move(*http);
    return std::nullopt;
  }

  std::optional<StartFailure> load() {
    const std::string& path = config_.models(0).path();
    auto index = formats::open_gguf(path);
    if (!index.ok()) {
      return model_failure(path, index.status());
    }
    auto summary = model::summarise(*index);
    if (!summary.ok()) {
      return model_failure(path, summary.status());
    }
    num_threads_ = config_.compute().threads();
    if (num_threads_ == 0) {
      num_threads_ = executor::read_cpu_budget().usable();
    }
    auto plan = plan_daemon_memory(config_, *summary, num_threads_);
    if (!plan.ok()) {
      return StartFailure{ExitCode::kDoesNotFit, plan.status().message()};
    }
    plan_ = std::move(*plan);
    report_plan();
    auto text = read_text_parts(*index);
    if (!text.ok()) {
      return model_failure(path, text.status());
    }
    text_ = std::move(*text);
    log_info("daemon", "loading",
             {{"path", path},
              {"architecture", summary->architecture},
              {"quantisation", summary->quantisation},
              {"weights_bytes", summary->weight_bytes},
              {"threads", num_threads_}});
    auto model = model::load_model(*index, {num_threads_, hooks_.load_progress});
    if (!model.ok()) {
      return model_failure(path, model.status());
    }
    model_ = std::move(*model);
    return std::nullopt;
  }

  std::optional<StartFailure> warm() {
    set_state(ServingState::kWarming);
    auto table = kernel_table_of(config_);
    if (!table.ok()) {
      return StartFailure{ExitCode::kUnavailable, table.status().message()};
    }
    auto backend =
        executor::CpuBackend::create({.model = model_,
                                      .table = *table,
                                      .num_threads = num_threads_,
                                      .num_blocks = plan_.num_blocks,
                                      .block_tokens = plan_.block_tokens,
                                      .max_step_tokens = config_.scheduler().max_step_tokens(),
                                      .max_sequences = config_.scheduler().max_running(),
                                      .kv_mode = kv_mode_of(config_),
                                      .prefault_kv = true});
    if (!backend.ok()) {
      return StartFailure{ExitCode::kDoesNotFit, backend.status().message()};
    }
    backend_ = std::move(*backend);
    model_id_ = served_model_id(config_.models(0).id(), config_.models(0).path());
    engine::EngineOptions options = engine_options_of(config_);
    options.model_name = model_id_;
    auto engine = engine::Engine::create(backend_.get(), sink_.get(), &clock_, &metrics_, options);
    if (!engine.ok()) {
      return StartFailure{ExitCode::kInternal, engine.status().message()};
    }
    {
      std::lock_guard lock(parts_mutex_);
      engine_ = std::move(*engine);
    }
    engine_->start();
    if (const Status status = run_self_test(engine_.get(), sink_.get(), model_->hyper.vocab_size);
        !status.ok()) {
      const bool model_fault = status.code() == StatusCode::kDataLoss;
      return StartFailure{model_fault ? ExitCode::kModelInvalid : ExitCode::kInternal,
                          status.message()};
    }
    sink_->forward();
    add_model();
    watchdog_ = std::make_unique<Watchdog>(
        engine_.get(), &clock_, config_.watchdog().stall_ms() * 1000,
        std::min(kMaxWatchdogTickUs, config_.watchdog().stall_ms() * 1000 / 4),
        [this](bool live) { set_live(live); });
    return std::nullopt;
  }

  void add_model() {
    fingerprint_ = fingerprint_of(*model_, *text_.tokenizer, *text_.chat_template);
    server::ServedModel served;
    served.id = model_id_;
    served.architecture = model_->architecture;
    served.quantisation = model_->quantisation;
    served.fingerprint = fingerprint_;
    served.vocab_size = model_->hyper.vocab_size;
    served.engine = engine_.get();
    served.tokenizer = text_.tokenizer;
    served.chat_template = text_.chat_template;
    served.tenant_salt = random_salt();
    service_->add_model(std::move(served));
  }

  void report_plan() {
    for (const executor::MemoryRow& row : plan_.rows) {
      log_info("daemon", "memory", {{"row", row.name}, {"bytes", row.bytes}});
      metrics_.gauge("stet_memory_plan_bytes", "Planned bytes of memory.", {{"row", row.name}})
          .set(static_cast<double>(row.bytes));
    }
    log_info("daemon", "memory",
             {{"row", "sum"},
              {"bytes", plan_.total_bytes},
              {"usable", plan_.usable_bytes},
              {"limit", plan_.limit.bytes},
              {"source", plan_.limit.source},
              {"kv", config_.kv().memory()}});
    if (plan_.max_model_len_shrunk) {
      obs::log_warn("daemon", "model_length_shrunk", {{"max_model_len", plan_.max_model_len}});
    }
    metrics_.gauge("stet_build_info", "Always 1.", {{"version", version()}, {"commit", commit()}})
        .set(1);
  }

  server::AdminHooks admin_hooks() {
    server::AdminHooks hooks;
    hooks.drain = [this](uint32_t deadline_ms, bool exit_when_done) {
      lifecycle_.request_drain(
          {deadline_ms == 0 ? config_.drain().timeout_ms() : deadline_ms, exit_when_done});
    };
    hooks.config_json = [this] {
      std::string json;
      const auto status = google::protobuf::util::MessageToJsonString(config_, &json);
      return status.ok() ? json : std::string("{}");
    };
    hooks.version = version();
    hooks.commit = commit();
    hooks.backend = "cpu";
    const auto table = kernel_table_of(config_);
    hooks.device = table.ok() ? (*table)->name : config_.compute().isa();
    hooks.start_unix_ms = start_unix_ms_;
    return hooks;
  }

  // ---- health

  void set_state(ServingState state) {
    lifecycle_.set_state(state);
    service_->set_state(state);
    publish_health();
  }
  void set_live(bool live) {
    live_.store(live);
    obs::log_event(live ? obs::LogLevel::kInfo : obs::LogLevel::kError, "daemon",
                   live ? "live_again" : "stalled", {{"stall_ms", config_.watchdog().stall_ms()}});
    publish_health();
  }
  void publish_health() {
    if (grpc_) {
      grpc_->set_serving(state() == ServingState::kReady, live());
    }
  }

  // ---- drain

  ExitCode drain(uint64_t timeout_ms) {
    lifecycle_.set_state(ServingState::kDraining);
    publish_health();
    log_info("daemon", "draining",
             {{"calls", service_->num_calls()},
              {"announce_ms", config_.drain().announce_ms()},
              {"timeout_ms", timeout_ms}});
    lifecycle_.pause(config_.drain().announce_ms());
    service_->set_state(ServingState::kDraining);
    engine_->begin_drain();
    if (http_) {
      http_->begin_drain();
    }
    const auto idle = [this] {
      return service_->num_calls() == 0 && (!http_ || http_->num_open_streams() == 0);
    };
    if (lifecycle_.wait_until(idle, timeout_ms)) {
      return ExitCode::kOk;
    }
    log_info("daemon", "drain_timeout", {{"calls", service_->num_calls()}});
    engine_->abort_all();
    lifecycle_.wait_until(idle, kLastWordsMs, /*despite_end=*/true);
    return ExitCode::kDrainTimeout;
  }

  // In the order in which nobody is left waiting: watchers, transports, engine, text threads.
  void stop_everything() {
    watchdog_.reset();
    if (grpc_) {
      grpc_->shutdown(kCloseGraceUs);
    }
    if (http_) {
      http_->stop();
    }
    if (engine_) {
      engine_->stop();
    }
    if (service_) {
      service_->stop();
    }
    grpc_.reset();
    http_.reset();
    client_.reset();
    {
      std::lock_guard lock(parts_mutex_);
      engine_.reset();
    }
    backend_.reset();
  }

  const config::v1::Config config_;
  const DaemonHooks hooks_;
  const int64_t start_unix_ms_;
  const SteadyClock clock_;
  Lifecycle lifecycle_;
  std::atomic<bool> live_{true};
  obs::Metrics metrics_;

  uint32_t num_threads_ = 1;
  executor::MemoryPlan plan_;
  TextParts text_;
  std::shared_ptr<const model::Model> model_;
  std::string model_id_, fingerprint_;

  mutable std::mutex parts_mutex_;  // service_ and engine_ appear and go while log_state looks
  std::unique_ptr<server::Service> service_;
  std::unique_ptr<SinkSwitch> sink_;
  std::unique_ptr<executor::CpuBackend> backend_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<proxy::InferenceClient> client_;
  std::unique_ptr<proxy::OpenAiServer> http_;
  std::unique_ptr<server::GrpcServer> grpc_;
  std::unique_ptr<Watchdog> watchdog_;
};

}  // namespace

std::unique_ptr<Daemon> Daemon::create(EffectiveConfig config, DaemonHooks hooks) {
  return std::make_unique<DaemonImpl>(std::move(config), std::move(hooks));
}

}  // namespace stet::daemon
