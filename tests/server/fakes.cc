#include "tests/server/fakes.h"

#include <array>
#include <chrono>

namespace stet::server {
namespace {

constexpr std::chrono::seconds kPatience{10};

std::string all_bytes() {
  std::string bytes;
  for (int i = 0; i < 256; ++i) {
    bytes += static_cast<char>(i);
  }
  return bytes;
}

}  // namespace

Status ByteTokenizer::encode(std::span<const text::TextSegment> segments, bool add_special,
                             size_t max_tokens, std::vector<uint32_t>* ids) const {
  if (on_encode) {
    on_encode();
  }
  if (add_special && (segments.empty() || !segments[0].text.starts_with("<|im_start|>"))) {
    ids->push_back(kImStart);
  }
  for (const text::TextSegment& segment : segments) {
    std::string_view rest = segment.text;
    while (!rest.empty()) {
      size_t used = 1;
      uint32_t id = static_cast<unsigned char>(rest[0]);
      if (segment.is_template && rest.starts_with("<|im_start|>")) {
        id = kImStart;
        used = 12;
      } else if (segment.is_template && rest.starts_with("<|im_end|>")) {
        id = kImEnd;
        used = 10;
      }
      ids->push_back(id);
      rest.remove_prefix(used);
      if (ids->size() > max_tokens) {
        return resource_exhausted("too many tokens");
      }
    }
  }
  return {};
}

std::string_view ByteTokenizer::token_bytes(uint32_t id) const {
  static const std::string bytes = all_bytes();
  switch (id) {
    case kImStart: return "<|im_start|>";
    case kImEnd: return "<|im_end|>";
    case kHello: return "hello";
    case 259: return "\xF0\x9F";
    default: return id < 256 ? std::string_view(bytes).substr(id, 1) : std::string_view();
  }
}

Result<std::vector<text::TextSegment>> ChatMlTemplate::render(
    const text::ChatInput& input, const text::TemplateLimits& limits) const {
  std::vector<text::TextSegment> out;
  size_t bytes = 0;
  for (size_t i = 0; i < input.messages.size(); ++i) {
    const text::ChatMessage& m = input.messages[i];
    if (m.content == "reject me") {
      return invalid_argument("roles must alternate");
    }
    bytes += m.content.size();
    out.push_back({"<|im_start|>" + m.role + "\n", true});
    out.push_back({m.content, false});
    if (!input.continue_final_message || i + 1 < input.messages.size()) {
      out.push_back({"<|im_end|>\n", true});
    }
  }
  if (bytes > limits.max_output_bytes) {
    return invalid_argument("the template writes too much");
  }
  if (input.add_generation_prompt) {
    out.push_back({"<|im_start|>assistant\n", true});
  }
  return out;
}

engine::Submission FakeEngine::submit(Request request) {
  engine::Submission out;
  {
    std::lock_guard lock(mutex);
    out.refusal = refusal;
    if (refusal != engine::Refusal::kNone) {
      out.limit = 7;
      out.requested = 8;
      out.retry_after_us = 5'000'000;
      return out;
    }
    request.id = RequestId{requests.size() + 1};
    out.id = request.id;
    requests.push_back(request);
  }
  changed.notify_all();
  if (on_submit) {
    on_submit(request);
  }
  return out;
}

engine::Submission FakeEngine::submit_or_wait(Request request) {
  if (has_room || refusal != engine::Refusal::kNone) {
    return submit(std::move(request));
  }
  std::lock_guard lock(mutex);
  ++num_turned_away;
  changed.notify_all();
  return {.refusal = engine::Refusal::kQueueFull};
}

bool FakeEngine::wait_turned_away(size_t count) {
  std::unique_lock lock(mutex);
  return changed.wait_for(lock, kPatience, [&] { return num_turned_away >= count; });
}

void FakeEngine::give_room() {
  has_room = true;
  sink->on_events({{.request = {}, .kind = engine::EngineEventKind::kQueueRoom}});
}

void FakeEngine::cancel(RequestId request) {
  std::lock_guard lock(mutex);
  cancelled.insert(request);
  changed.notify_all();
}

void FakeEngine::finish_choice(RequestId request, uint32_t choice) {
  std::lock_guard lock(mutex);
  finished_choices.emplace_back(request, choice);
  changed.notify_all();
}

void FakeEngine::set_parked(RequestId request, bool park) {
  std::lock_guard lock(mutex);
  parked[request] = park;
  changed.notify_all();
}

Request FakeEngine::wait_request(size_t index) {
  std::unique_lock lock(mutex);
  changed.wait_for(lock, kPatience, [&] { return requests.size() > index; });
  return requests.at(index);
}

size_t FakeEngine::num_requests() {
  std::lock_guard lock(mutex);
  return requests.size();
}

// Log-probability -1/(1+id), rank id+1: a test can tell whose it is.
engine::EngineToken FakeEngine::token(RequestId id, uint32_t choice, uint32_t token_id) {
  ++positions_[{id, choice}];
  engine::EngineToken out;
  out.token_id = token_id;
  out.logprob = -1.0f / static_cast<float>(1 + token_id);
  out.rank = token_id + 1;
  out.top = {{token_id, out.logprob}, {kHello, -9.0f}};
  return out;
}

void FakeEngine::tokens(RequestId id, uint32_t choice, const std::vector<uint32_t>& ids) {
  engine::EngineEvent event;
  event.request = id;
  event.choice = choice;
  event.first_output_pos = positions_[{id, choice}];
  for (const uint32_t token_id : ids) {
    event.tokens.push_back(token(id, choice, token_id));
  }
  step_.push_back(std::move(event));
}

void FakeEngine::last(RequestId id, uint32_t choice, const std::vector<uint32_t>& ids,
                      stet::FinishReason reason, int64_t stop_token_id) {
  tokens(id, choice, ids);
  step_.back().kind = engine::EngineEventKind::kChoiceFinished;
  step_.back().reason = reason;
  step_.back().stop_token_id = stop_token_id;
}

void FakeEngine::ended(RequestId id, Status status, std::string reason) {
  engine::EngineEvent event;
  event.request = id;
  event.kind = engine::EngineEventKind::kRequestEnded;
  event.status = std::move(status);
  event.error_reason = std::move(reason);
  event.cached_prompt_tokens = 3;
  event.prefill_token_equivalents = 12.6;
  event.num_preemptions = 2;
  event.times = {10, 20, 30, 40};
  step_.push_back(std::move(event));
}

void FakeEngine::flush() {
  sink->on_events(std::exchange(step_, {}));
}

void FakeEngine::reply(const Request& request, std::string_view text) {
  const std::vector<uint32_t> ids = bytes_of(text);
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    for (uint32_t c = 0; c < request.num_choices; ++c) {
      tokens(request.id, c, {ids[i]});
    }
    flush();
  }
  for (uint32_t c = 0; c < request.num_choices; ++c) {
    last(request.id, c, {ids.back()}, stet::FinishReason::kLength);
  }
  ended(request.id);
  flush();
}

bool FakeEngine::wait_cancelled(RequestId id) {
  std::unique_lock lock(mutex);
  return changed.wait_for(lock, kPatience, [&] { return cancelled.contains(id); });
}

bool FakeEngine::wait_parked(RequestId id, bool park) {
  std::unique_lock lock(mutex);
  return changed.wait_for(lock, kPatience,
                          [&] { return parked.contains(id) && parked.at(id) == park; });
}

void Recorder::on_event(const v1::GenerateResponse& event) {
  std::lock_guard lock(mutex);
  events.push_back(event);
  changed.notify_all();
}

void Recorder::on_done(const google::rpc::Status& status) {
  std::lock_guard lock(mutex);
  done.push_back(status);
  changed.notify_all();
}

bool Recorder::wait(const std::function<bool()>& condition) {
  std::unique_lock lock(mutex);
  return changed.wait_for(lock, kPatience, condition);
}

google::rpc::Status Recorder::wait_done() {
  if (!wait([&] { return !done.empty(); })) {
    google::rpc::Status none;
    none.set_code(-1);
    none.set_message("no on_done within 10 s");
    return none;
  }
  std::lock_guard lock(mutex);
  return done.front();
}

bool Recorder::wait_events(size_t count) {
  return wait([&] { return events.size() >= count; });
}

std::vector<v1::Delta> Recorder::deltas() {
  std::lock_guard lock(mutex);
  std::vector<v1::Delta> out;
  for (const auto& event : events) {
    if (event.has_delta()) {
      out.push_back(event.delta());
    }
  }
  return out;
}

std::string Recorder::text(uint32_t index) {
  std::string out;
  for (const v1::Delta& delta : deltas()) {
    if (delta.index() == index) {
      out += delta.text();
    }
  }
  return out;
}

std::vector<uint32_t> Recorder::token_ids(uint32_t index) {
  std::vector<uint32_t> out;
  for (const v1::Delta& delta : deltas()) {
    if (delta.index() == index) {
      out.insert(out.end(), delta.token_ids().begin(), delta.token_ids().end());
    }
  }
  return out;
}

std::vector<v1::Finished> Recorder::finished() {
  std::lock_guard lock(mutex);
  std::vector<v1::Finished> out;
  for (const auto& event : events) {
    if (event.has_finished()) {
      out.push_back(event.finished());
    }
  }
  return out;
}

v1::Started Recorder::started() {
  std::lock_guard lock(mutex);
  return events.at(0).started();
}

v1::Summary Recorder::summary() {
  std::lock_guard lock(mutex);
  return events.back().summary();
}

World::World(Limits limits) : service(Service::create(limits, &clock, &metrics)) {
  clock.advance_us(1'000'000);
  engine.sink = service->engine_sink();
  ServedModel model;
  model.id = "tiny";
  model.architecture = "llama";
  model.quantisation = "Q8_0";
  model.fingerprint = "stet-0011223344556677-89abcdef";
  model.vocab_size = kVocab;
  model.engine = &engine;
  model.tokenizer = tokenizer;
  model.chat_template = std::make_shared<ChatMlTemplate>();
  model.tenant_salt = "salt";
  service->add_model(std::move(model));
  service->set_state(ServingState::kReady);
}

World::~World() {
  service->stop();
}

std::pair<std::shared_ptr<Recorder>, std::unique_ptr<Call>> World::generate(
    const v1::GenerateRequest& request, CallContext context) {
  auto recorder = std::make_shared<Recorder>();
  auto call = service->generate(request, context, recorder);
  return {std::move(recorder), std::move(call)};
}

std::pair<std::shared_ptr<Recorder>, std::unique_ptr<Call>> World::chat(
    const v1::ChatRequest& request) {
  auto recorder = std::make_shared<Recorder>();
  auto call = service->chat(request, {}, recorder);
  return {std::move(recorder), std::move(call)};
}

v1::GenerateRequest text_request(std::string_view text) {
  v1::GenerateRequest request;
  request.set_text(std::string(text));
  return request;
}

v1::ChatRequest chat_request(std::string_view content) {
  v1::ChatRequest request;
  v1::ChatMessage* message = request.add_messages();
  message->set_role("user");
  message->add_content()->set_text(std::string(content));
  return request;
}

std::vector<uint32_t> bytes_of(std::string_view text) {
  std::vector<uint32_t> ids;
  for (const char c : text) {
    ids.push_back(static_cast<unsigned char>(c));
  }
  return ids;
}

std::string reason_in(const google::rpc::Status& status) {
  return detail_of<google::rpc::ErrorInfo>(status).reason();
}

bool names_field(const google::rpc::Status& status, std::string_view field) {
  const auto bad = detail_of<google::rpc::BadRequest>(status);
  for (const auto& violation : bad.field_violations()) {
    if (violation.field() == field) {
      return true;
    }
  }
  return false;
}

}  // namespace stet::server
