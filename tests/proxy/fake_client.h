// An InferenceClient whose calls a test drives by hand, or by a script. No model, no daemon.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "google/rpc/status.pb.h"
#include "stet/proxy/inference_client.h"
#include "stet/v1/inference.pb.h"
#include "stet/v1/model.pb.h"

namespace stet::proxy::testing {

// One call. Thread-safe.
class FakeCall {
 public:
  FakeCall(v1::ChatRequest request, CallOptions options, std::shared_ptr<CallEvents> events)
      : chat(std::move(request)), call_options(std::move(options)), events_(std::move(events)) {}
  FakeCall(v1::GenerateRequest request, CallOptions options, std::shared_ptr<CallEvents> events)
      : generate(std::move(request)),
        call_options(std::move(options)),
        events_(std::move(events)) {}

  void started(uint32_t prompt_tokens = 3);
  void delta(uint32_t index, const std::string& text, std::vector<uint32_t> ids,
             std::vector<v1::TokenLogprob> logprobs = {});
  void finished(uint32_t index, v1::FinishReason reason = v1::FINISH_REASON_STOP);
  void finished(v1::Finished message);
  void summary(uint32_t prompt_tokens, uint32_t completion_tokens, uint32_t cached = 0);
  void ok();
  void fail(int code, const std::string& message, const std::string& reason = "",
            const std::string& field = "", uint32_t retry_s = 0);
  void event(const v1::GenerateResponse& response) { events_->on_event(response); }
  void done(const google::rpc::Status& status);
  // started, one delta per text, finished, summary, ok.
  void answer(const std::vector<std::string>& texts);

  void mark_cancelled();
  bool wait_cancelled();  // false after 20 s
  bool cancelled() const { return cancelled_; }
  void mark_backlog(size_t bytes);
  bool wait_backlog(std::function<bool(size_t)> condition);

  const v1::ChatRequest chat;
  const v1::GenerateRequest generate;
  const CallOptions call_options;

 private:
  std::shared_ptr<CallEvents> events_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> cancelled_{false};
  size_t backlog_ = 0;
};

google::rpc::Status make_status(int code, const std::string& message, const std::string& reason,
                                const std::string& field = "", uint32_t retry_s = 0);
v1::Model make_model(const std::string& id);
v1::TokenLogprob make_logprob(uint32_t id, float logprob, const std::string& bytes);

// Thread-safe.
class FakeClient final : public InferenceClient {
 public:
  FakeClient() { models_.push_back(make_model("fake/model")); }

  // Called for every call, on the caller's thread, instead of handing it to wait_call.
  void set_script(std::function<void(FakeCall&)> script) { script_ = std::move(script); }
  std::shared_ptr<FakeCall> wait_call();  // the next call; null after 20 s
  size_t num_calls() const { return num_calls_; }
  void set_ready(ReadyState state);
  void set_live(bool live) { live_ = live; }
  void set_models(std::vector<v1::Model> models);

  std::unique_ptr<CallHandle> generate(const v1::GenerateRequest& request,
                                       const CallOptions& options,
                                       std::shared_ptr<CallEvents> events) override;
  std::unique_ptr<CallHandle> chat(const v1::ChatRequest& request, const CallOptions& options,
                                   std::shared_ptr<CallEvents> events) override;
  std::vector<v1::Model> models() override;
  ReadyState ready() override;
  bool live() override { return live_; }
  std::string version() override { return "1.2.3"; }

 private:
  std::unique_ptr<CallHandle> take(std::shared_ptr<FakeCall> call);

  std::function<void(FakeCall&)> script_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::shared_ptr<FakeCall>> calls_;
  std::atomic<size_t> num_calls_{0};
  std::atomic<bool> live_{true};
  ReadyState ready_{true, "ready"};
  std::vector<v1::Model> models_;
};

}  // namespace stet::proxy::testing
