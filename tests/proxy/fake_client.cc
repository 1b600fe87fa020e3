#include "tests/proxy/fake_client.h"

#include <chrono>
#include <utility>

#include "google/rpc/error_details.pb.h"

namespace stet::proxy::testing {
namespace {

constexpr auto kPatience = std::chrono::seconds(20);

class FakeHandle final : public CallHandle {
 public:
  explicit FakeHandle(std::shared_ptr<FakeCall> call) : call_(std::move(call)) {}
  ~FakeHandle() override { call_->mark_cancelled(); }
  void cancel() override { call_->mark_cancelled(); }
  void set_backlog(size_t bytes) override { call_->mark_backlog(bytes); }

 private:
  const std::shared_ptr<FakeCall> call_;
};

}  // namespace

google::rpc::Status make_status(int code, const std::string& message, const std::string& reason,
                                const std::string& field, uint32_t retry_s) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  if (!reason.empty()) {
    google::rpc::ErrorInfo info;
    info.set_domain("stet");
    info.set_reason(reason);
    status.add_details()->PackFrom(info);
  }
  if (!field.empty()) {
    google::rpc::BadRequest bad;
    bad.add_field_violations()->set_field(field);
    status.add_details()->PackFrom(bad);
  }
  if (retry_s > 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(retry_s);
    status.add_details()->PackFrom(retry);
  }
  return status;
}

v1::Model make_model(const std::string& id) {
  v1::Model model;
  model.set_id(id);
  model.set_created_unix_s(1700000000);
  model.set_max_model_len(8192);
  model.set_fingerprint("stet-abc-01234567");
  model.add_eos_token_ids(2);
  return model;
}

v1::TokenLogprob make_logprob(uint32_t id, float logprob, const std::string& bytes) {
  v1::TokenLogprob token;
  token.set_token_id(id);
  token.set_logprob(logprob);
  token.set_token_bytes(bytes);
  return token;
}

void FakeCall::started(uint32_t prompt_tokens) {
  v1::GenerateResponse response;
  auto* message = response.mutable_started();
  message->set_model("fake/model");
  message->set_fingerprint("stet-abc-01234567");
  message->set_created_unix_ms(1700000000123);
  message->set_prompt_tokens(prompt_tokens);
  for (uint32_t i = 0; i < prompt_tokens; ++i) {
    message->add_prompt_token_ids(100 + i);
  }
  event(response);
}

void FakeCall::delta(uint32_t index, const std::string& text, std::vector<uint32_t> ids,
                     std::vector<v1::TokenLogprob> logprobs) {
  v1::GenerateResponse response;
  auto* message = response.mutable_delta();
  message->set_index(index);
  message->set_text(text);
  message->mutable_token_ids()->Add(ids.begin(), ids.end());
  for (auto& token : logprobs) {
    *message->add_logprobs() = std::move(token);
  }
  event(response);
}

void FakeCall::finished(uint32_t index, v1::FinishReason reason) {
  v1::Finished message;
  message.set_index(index);
  message.set_reason(reason);
  finished(std::move(message));
}

void FakeCall::finished(v1::Finished message) {
  v1::GenerateResponse response;
  *response.mutable_finished() = std::move(message);
  event(response);
}

void FakeCall::summary(uint32_t prompt_tokens, uint32_t completion_tokens, uint32_t cached) {
  v1::GenerateResponse response;
  auto* usage = response.mutable_summary()->mutable_usage();
  usage->set_prompt_tokens(prompt_tokens);
  usage->set_completion_tokens(completion_tokens);
  usage->set_cached_prompt_tokens(cached);
  event(response);
}

void FakeCall::done(const google::rpc::Status& status) {
  events_->on_done(status);
}
void FakeCall::ok() {
  done(google::rpc::Status());
}
void FakeCall::fail(int code, const std::string& message, const std::string& reason,
                    const std::string& field, uint32_t retry_s) {
  done(make_status(code, message, reason, field, retry_s));
}

void FakeCall::answer(const std::vector<std::string>& texts) {
  started();
  for (size_t i = 0; i < texts.size(); ++i) {
    delta(0, texts[i], {static_cast<uint32_t>(10 + i)});
  }
  finished(0);
  summary(3, static_cast<uint32_t>(texts.size()));
  ok();
}

void FakeCall::mark_cancelled() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  changed_.notify_all();
}

bool FakeCall::wait_cancelled() {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [this] { return cancelled_.load(); });
}

void FakeCall::mark_backlog(size_t bytes) {
  std::lock_guard lock(mutex_);
  backlog_ = bytes;
  changed_.notify_all();
}

bool FakeCall::wait_backlog(std::function<bool(size_t)> condition) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return condition(backlog_); });
}

std::shared_ptr<FakeCall> FakeClient::wait_call() {
  std::unique_lock lock(mutex_);
  if (!arrived_.wait_for(lock, kPatience, [this] { return !calls_.empty(); })) {
    return nullptr;
  }
  auto call = calls_.front();
  calls_.pop_front();
  return call;
}

void FakeClient::set_ready(ReadyState state) {
  std::lock_guard lock(mutex_);
  ready_ = std::move(state);
}

void FakeClient::set_models(std::vector<v1::Model> models) {
  std::lock_guard lock(mutex_);
  models_ = std::move(models);
}

std::unique_ptr<CallHandle> FakeClient::take(std::shared_ptr<FakeCall> call) {
  ++num_calls_;
  if (script_) {
    script_(*call);
  } else {
    std::lock_guard lock(mutex_);
    calls_.push_back(call);
    arrived_.notify_all();
  }
  return std::make_unique<FakeHandle>(std::move(call));
}

std::unique_ptr<CallHandle> FakeClient::generate(const v1::GenerateRequest& request,
                                                 const CallOptions& options,
                                                 std::shared_ptr<CallEvents> events) {
  return take(std::make_shared<FakeCall>(request, options, std::move(events)));
}

std::unique_ptr<CallHandle> FakeClient::chat(const v1::ChatRequest& request,
                                             const CallOptions& options,
                                             std::shared_ptr<CallEvents> events) {
  return take(std::make_shared<FakeCall>(request, options, std::move(events)));
}

std::vector<v1::Model> FakeClient::models() {
  std::lock_guard lock(mutex_);
  return models_;
}

ReadyState FakeClient::ready() {
  std::lock_guard lock(mutex_);
  return ready_;
}

}  // namespace stet::proxy::testing
