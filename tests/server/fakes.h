// Stand-ins for the rooms around the server: an engine whose every event a test decides, a byte
// tokenizer, a ChatML template, and a receiver that records.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "stet/engine/engine.h"
#include "stet/server/service.h"
#include "stet/text/chat_template.h"
#include "stet/text/tokenizer.h"
#include "stet/v1/inference.pb.h"
#include "stet/v1/model.pb.h"

namespace stet::server {

inline constexpr uint32_t kImStart = 256, kImEnd = 257, kVocab = 2048;
inline constexpr uint32_t kHello = 258;  // "hello"
inline constexpr uint32_t kModelLen = 512;

// Token i < 256 is byte i; 256 and 257 are special, 258 is "hello", 259 is the two bytes of half an
// emoji, all others are empty.
class ByteTokenizer final : public text::Tokenizer {
 public:
  Status encode(std::span<const text::TextSegment> segments, bool add_special, size_t max_tokens,
                std::vector<uint32_t>* ids) const override;
  std::string_view token_bytes(uint32_t id) const override;
  bool is_special(uint32_t id) const override { return id == kImStart || id == kImEnd; }
  uint32_t vocab_size() const override { return kVocab; }
  int64_t bos_id() const override { return kImStart; }
  int64_t eos_id() const override { return kImEnd; }
  std::span<const uint32_t> end_of_generation_ids() const override { return kEnd; }
  int64_t find_special(std::string_view) const override { return -1; }
  bool spells_special(std::string_view) const override { return false; }
  std::string_view sha256_hex() const override { return "00"; }

  std::function<void()> on_encode;  // in encode, on the prepare thread

 private:
  static constexpr uint32_t kEnd[1] = {kImEnd};
};

// ChatML; uses variable "style"; a message with content "reject me" is rejected.
class ChatMlTemplate final : public text::ChatTemplate {
 public:
  Result<std::vector<text::TextSegment>> render(const text::ChatInput& input,
                                                const text::TemplateLimits& limits) const override;
  const std::string& source() const override { return source_; }
  bool uses_variable(std::string_view name) const override {
    return name == "style" || name == "messages";
  }

 private:
  std::string source_ = "chatml";
};

// Holds what it is given; tokens come when the test says so, from the test's thread.
class FakeEngine final : public engine::Engine {
 public:
  void start() override {}
  engine::Submission submit(Request request) override;
  engine::Submission submit_or_wait(Request request) override;
  void cancel(RequestId request) override;
  void finish_choice(RequestId request, uint32_t choice) override;
  void set_parked(RequestId request, bool parked) override;
  void begin_drain() override { refusal = engine::Refusal::kDraining; }
  void abort_all() override {}
  void stop() override {}
  engine::EngineStats stats() const override { return {}; }
  std::vector<engine::StepRecord> recent_steps() const override { return {}; }
  uint32_t max_model_len() const override { return kModelLen; }

  // Test side.
  Request wait_request(size_t index = 0);  // the index-th accepted one
  size_t num_requests();
  // Tokens of one choice as one event.
  void tokens(RequestId id, uint32_t choice, const std::vector<uint32_t>& ids);
  // A choice's last event, with its last tokens.
  void last(RequestId id, uint32_t choice, const std::vector<uint32_t>& ids,
            stet::FinishReason reason, int64_t stop_token_id = -1);
  void ended(RequestId id, Status status = {}, std::string reason = "");
  void flush();  // gives the events gathered so far to the sink as one step
  // Every token, its ending and the request's, at once and as one step per token.
  void reply(const Request& request, std::string_view text);
  bool wait_cancelled(RequestId id);
  bool wait_turned_away(size_t count);  // so many submit_or_wait found no room
  void give_room();                     // there is room from now on, and who waits is told
  bool wait_parked(RequestId id, bool parked);

  engine::EventSink* sink = nullptr;
  std::function<void(const Request&)> on_submit;  // in submit, on the text thread
  engine::Refusal refusal = engine::Refusal::kNone;
  std::atomic<bool> has_room{true};  // for submit_or_wait

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Request> requests;
  std::set<RequestId> cancelled;
  std::map<RequestId, bool> parked;
  std::vector<std::pair<RequestId, uint32_t>> finished_choices;
  size_t num_turned_away = 0;

 private:
  engine::EngineToken token(RequestId id, uint32_t choice, uint32_t token_id);
  std::vector<engine::EngineEvent> step_;
  std::map<std::pair<RequestId, uint32_t>, uint32_t> positions_;
};

// Records everything; a wait ends the test after 10 s instead of hanging.
class Recorder final : public CallEvents {
 public:
  void on_event(const v1::GenerateResponse& event) override;
  void on_done(const google::rpc::Status& status) override;

  bool wait(const std::function<bool()>& condition);  // holds the lock while it asks
  google::rpc::Status wait_done();
  bool wait_events(size_t count);

  std::string text(uint32_t index = 0);  // all deltas
  std::vector<uint32_t> token_ids(uint32_t index = 0);
  std::vector<v1::Delta> deltas();
  std::vector<v1::Finished> finished();
  v1::Started started();
  v1::Summary summary();

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<v1::GenerateResponse> events;
  std::vector<google::rpc::Status> done;  // one, or the contract is broken
};

// A service with one model over a FakeEngine, ready.
struct World {
  explicit World(Limits limits = {});
  ~World();

  std::pair<std::shared_ptr<Recorder>, std::unique_ptr<Call>> generate(
      const v1::GenerateRequest& request, CallContext context = {});
  std::pair<std::shared_ptr<Recorder>, std::unique_ptr<Call>> chat(const v1::ChatRequest& request);

  ManualClock clock;
  obs::Metrics metrics;
  FakeEngine engine;
  std::shared_ptr<ByteTokenizer> tokenizer = std::make_shared<ByteTokenizer>();
  std::unique_ptr<Service> service;
};

v1::GenerateRequest text_request(std::string_view text);
v1::ChatRequest chat_request(std::string_view content);
std::vector<uint32_t> bytes_of(std::string_view text);

template <class Detail>
Detail detail_of(const google::rpc::Status& status) {
  Detail detail;
  for (const auto& any : status.details()) {
    if (any.UnpackTo(&detail)) {
      return detail;
    }
  }
  return detail;
}
std::string reason_in(const google::rpc::Status& status);
bool names_field(const google::rpc::Status& status, std::string_view field);

}  // namespace stet::server
