#include "stet/server/service.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "src/server/call_errors.h"
#include "src/server/prepare_stage.h"
#include "src/server/responses.h"
#include "src/server/text_stage.h"
#include "stet/base/check.h"

namespace stet::server {
namespace {

class CallHandle final : public Call {
 public:
  CallHandle(CallPtr call, std::shared_ptr<TextStage> text, const Clock* clock)
      : call_(std::move(call)), text_(std::move(text)), clock_(clock) {}
  ~CallHandle() override { cancel(); }
  CallHandle(const CallHandle&) = delete;
  CallHandle& operator=(const CallHandle&) = delete;

  void cancel() override {
    if (!call_->cancelled.exchange(true)) {
      text_->post_poke(call_);
    }
  }

  void set_busy(bool busy) override {
    call_->progress_us.store(clock_->now_us());
    call_->busy.store(busy);
    if (!busy && call_->has_waiting.load()) {
      text_->post_poke(call_);
    }
  }

 private:
  const CallPtr call_;
  const std::shared_ptr<TextStage> text_;
  const Clock* clock_;
};

struct ModelEntry {
  std::shared_ptr<const ServedModel> model;
  int64_t created_unix_s = 0;
};

class ServiceImpl final : public Service {
 public:
  ServiceImpl(const Limits& limits, const Clock* clock, obs::Metrics* metrics)
      : limits_(limits),
        clock_(clock),
        metrics_(metrics),
        text_(std::make_shared<TextStage>(clock, &metrics_,
                                          [this](const CallState& call) { call_ended(call); })),
        prepare_(limits, clock, &metrics_, text_.get()) {
    text_->start();
    prepare_.start();
  }
  ~ServiceImpl() override { stop(); }

  engine::EventSink* engine_sink() override { return text_.get(); }

  void add_model(ServedModel model) override {
    STET_CHECK(model.tokenizer != nullptr && model.chat_template != nullptr,
               "a served model has a tokenizer and a chat template");
    std::lock_guard lock(mutex_);
    models_.push_back(
        {std::make_shared<const ServedModel>(std::move(model)), wall_clock_unix_ms() / 1000});
  }

  void set_state(ServingState state) override { state_.store(state); }
  ServingState state() const override { return state_.load(); }
  const Clock& clock() const override { return *clock_; }

  std::unique_ptr<Call> generate(const v1::GenerateRequest& request, const CallContext& context,
                                 std::shared_ptr<CallEvents> events) override {
    return start(request, context, std::move(events));
  }
  std::unique_ptr<Call> chat(const v1::ChatRequest& request, const CallContext& context,
                             std::shared_ptr<CallEvents> events) override {
    return start(request, context, std::move(events));
  }

  std::vector<v1::Model> models() const override {
    std::vector<v1::Model> out;
    std::lock_guard lock(mutex_);
    out.reserve(models_.size());
    for (const ModelEntry& entry : models_) {
      out.push_back(model_message(*entry.model, limits_, entry.created_unix_s));
    }
    return out;
  }

  const engine::Engine* default_engine() const override {
    std::lock_guard lock(mutex_);
    return models_.empty() ? nullptr : models_.front().model->engine;
  }

  size_t num_calls() const override { return num_calls_.load(); }

  void stop() override {
    state_.store(ServingState::kStopped);
    prepare_.stop();
    text_->stop();
  }

 private:
  template <class Request>
  std::unique_ptr<Call> start(const Request& request, const CallContext& context,
                              std::shared_ptr<CallEvents> events) {
    auto call = std::make_shared<CallState>();
    num_calls_.fetch_add(1);
    call->events = std::move(events);
    call->received_us = clock_->now_us();
    call->progress_us = call->received_us;
    call->request_bytes = request.ByteSizeLong();
    call->waits_for_room = context.waits_for_room;
    call->request_id =
        is_request_id(request.request_id()) ? request.request_id() : draw_request_id();
    auto handle = std::make_unique<CallHandle>(call, text_, clock_);
    if (std::optional<google::rpc::Status> error = admit(request, context, call)) {
      text_->post_refused(call, with_request_id(std::move(*error), call->request_id));
    }
    return handle;
  }

  // Each check is cheaper than the next (operations.md sec. 6).
  template <class Request>
  std::optional<google::rpc::Status> admit(const Request& request, const CallContext& context,
                                           const CallPtr& call) {
    const ServingState now = state_.load();
    if (now != ServingState::kReady && now != ServingState::kDraining) {
      return not_ready(now).build();
    }
    if (call->request_bytes > limits_.max_request_bytes) {
      return ApiError(StatusCode::kResourceExhausted, reason::kTooLarge,
                      "the request has " + std::to_string(call->request_bytes) +
                          " bytes: at most " + std::to_string(limits_.max_request_bytes))
          .build();
    }
    call->deadline_us = call->received_us + limits_.max_request_us;
    if (context.deadline_us != 0) {
      call->deadline_us = std::min(call->deadline_us, context.deadline_us);
    }
    if (call->deadline_us <= call->received_us) {
      metrics_.deadline_missed("text");
      return deadline_passed("before the request arrived").build();
    }
    if (std::optional<ApiError> error = find_model(request.model(), &call->model)) {
      return error->build();
    }
    const ModelFacts facts{call->model->vocab_size, call->model->engine->max_model_len(),
                           call->model->chat_template.get()};
    Validated validated = validate(request, limits_, facts);
    if (auto* error = std::get_if<google::rpc::Status>(&validated)) {
      return std::move(*error);
    }
    call->spec = std::move(std::get<CallSpec>(validated));
    if (!take_request_id(call)) {
      return ApiError(StatusCode::kAlreadyExists, reason::kDuplicateRequestId,
                      "request_id: '" + call->request_id + "' is in flight")
          .build();
    }
    if (std::optional<ApiError> error = prepare_.add(call)) {
      return error->build();
    }
    return std::nullopt;
  }

  std::optional<ApiError> find_model(const std::string& id,
                                     std::shared_ptr<const ServedModel>* out) const {
    std::lock_guard lock(mutex_);
    std::string known;
    for (const ModelEntry& entry : models_) {
      if (id.empty() || id == "default" || id == entry.model->id) {
        if (entry.model->engine == nullptr) {
          return not_ready(ServingState::kLoading);
        }
        *out = entry.model;
        return std::nullopt;
      }
      known += (known.empty() ? "" : ", ") + entry.model->id;
    }
    if (models_.empty()) {
      return not_ready(ServingState::kLoading);
    }
    return ApiError(StatusCode::kNotFound, reason::kModel,
                    "model: '" + clipped(id, 80) + "' is not served; there is " + known);
  }

  bool take_request_id(const CallPtr& call) {
    std::lock_guard lock(mutex_);
    call->holds_request_id = request_ids_.insert(call->request_id).second;
    return call->holds_request_id;
  }

  void call_ended(const CallState& call) {
    if (call.holds_request_id) {
      std::lock_guard lock(mutex_);
      request_ids_.erase(call.request_id);
    }
    num_calls_.fetch_sub(1);
  }

  const Limits limits_;
  const Clock* clock_;
  ServerMetrics metrics_;
  std::atomic<ServingState> state_{ServingState::kStarting};
  std::atomic<size_t> num_calls_{0};
  mutable std::mutex mutex_;
  std::vector<ModelEntry> models_;
  std::unordered_set<std::string> request_ids_;  // in flight
  std::shared_ptr<TextStage> text_;              // shared with the handles
  PrepareStage prepare_;
};

}  // namespace

std::string_view serving_state_name(ServingState state) {
  switch (state) {
    case ServingState::kStarting: return "starting";
    case ServingState::kLoading: return "loading";
    case ServingState::kWarming: return "warming";
    case ServingState::kReady: return "ready";
    case ServingState::kDegraded: return "degraded";
    case ServingState::kDraining: return "draining";
    case ServingState::kStopped: return "stopped";
  }
  return "unknown";
}

std::unique_ptr<Service> Service::create(const Limits& limits, const Clock* clock,
                                         obs::Metrics* metrics) {
  return std::make_unique<ServiceImpl>(limits, clock, metrics);
}

}  // namespace stet::server
