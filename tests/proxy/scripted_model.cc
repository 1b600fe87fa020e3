#include "tests/proxy/scripted_model.h"

#include <algorithm>

#include "tests/proxy/fake_client.h"

namespace stet::proxy::testing {
namespace {

google::rpc::Status refuse(const std::string& field, const std::string& what) {
  return make_status(3, field + ": " + what, "out_of_range", field);
}

// One byte of the "answer" per token; letters depend on prompt, seed and choice.
std::string text_of(const std::string& prompt, uint64_t seed, uint32_t index, uint32_t num_tokens) {
  std::string text;
  uint64_t state = seed + index * 977 + 1;
  for (const char c : prompt) {
    state = state * 131 + static_cast<unsigned char>(c);
  }
  for (uint32_t i = 0; i < num_tokens; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    text += i % 4 == 3 ? ' ' : static_cast<char>('a' + (state >> 33) % 26);
  }
  return text;
}

v1::TokenLogprob logprob_of(char c, uint32_t num_top) {
  v1::TokenLogprob token = make_logprob(static_cast<unsigned char>(c),
                                        -0.125F * static_cast<float>(c % 8), std::string(1, c));
  for (uint32_t k = 0; k < num_top; ++k) {
    auto* top = token.add_top();
    top->set_token_id(k);
    top->set_logprob(-0.1F * static_cast<float>(k));
    top->set_token_bytes(std::string(1, static_cast<char>('A' + k)));
  }
  return token;
}

template <class Request>
google::rpc::Status judge(const Request& request) {
  if (!request.model().empty() && request.model() != "fake/model") {
    return make_status(5, "no model '" + request.model() + "'", "model");
  }
  if (request.sampling().temperature() > 2) {
    return refuse("sampling.temperature", "must be 0 to 2");
  }
  if (request.sampling().max_tokens() > 8192) {
    return make_status(3, "prompt and max_tokens exceed 8192", "context_length");
  }
  for (int i = 0; i < request.stop().strings_size(); ++i) {
    if (request.stop().strings(i).empty()) {
      return refuse("stop.strings[" + std::to_string(i) + "]", "is empty");
    }
  }
  return {};
}

template <class Request>
void play_choice(const Request& request, const std::string& prompt, uint32_t index,
                 uint32_t* num_tokens, std::vector<v1::GenerateResponse>* events) {
  const bool final_mode = request.output().mode() == v1::OUTPUT_MODE_FINAL;
  std::string text =
      text_of(prompt, request.sampling().seed(), index, request.sampling().max_tokens());
  size_t cut = std::string::npos;
  v1::GenerateResponse last;
  v1::Finished* finished = last.mutable_finished();
  for (const std::string& stop : request.stop().strings()) {
    if (const size_t at = text.find(stop); at < cut) {
      cut = at;
      finished->set_stop_string(stop);
    }
  }
  const size_t sampled =
      cut == std::string::npos ? text.size() : cut + finished->stop_string().size();
  for (size_t i = 0; i < sampled; ++i) {
    v1::GenerateResponse event;
    v1::Delta* delta = event.mutable_delta();
    delta->set_index(index);
    delta->set_text(i < cut ? std::string(1, text[i]) : "");
    delta->add_token_ids(static_cast<unsigned char>(text[i]));
    if (request.output().has_logprobs()) {
      *delta->add_logprobs() = logprob_of(text[i], request.output().logprobs());
    }
    if (final_mode) {
      finished->mutable_output()->mutable_text()->append(delta->text());
      finished->mutable_output()->mutable_token_ids()->MergeFrom(delta->token_ids());
      finished->mutable_output()->mutable_logprobs()->MergeFrom(delta->logprobs());
    } else {
      events->push_back(std::move(event));
    }
  }
  finished->set_index(index);
  finished->set_reason(cut == std::string::npos ? v1::FINISH_REASON_LENGTH
                                                : v1::FINISH_REASON_STOP);
  finished->set_completion_tokens(static_cast<uint32_t>(sampled));
  *num_tokens += static_cast<uint32_t>(sampled);
  events->push_back(std::move(last));
}

template <class Request>
Script play(const Request& request, const std::string& prompt) {
  Script script;
  script.status = judge(request);
  if (script.status.code() != 0) {
    return script;
  }
  const auto prompt_tokens = static_cast<uint32_t>(prompt.size());
  v1::Started* started = script.events.emplace_back().mutable_started();
  started->set_request_id(request.request_id());
  started->set_model("fake/model");
  started->set_fingerprint("stet-abc-01234567");
  started->set_created_unix_ms(1700000000000);
  started->set_prompt_tokens(prompt_tokens);
  if (request.output().prompt_token_ids()) {
    for (const char c : prompt) {
      started->add_prompt_token_ids(static_cast<unsigned char>(c));
    }
  }
  uint32_t num_tokens = 0;
  const uint32_t n = request.sampling().has_n() ? request.sampling().n() : 1;
  for (uint32_t i = 0; i < n; ++i) {
    play_choice(request, prompt, i, &num_tokens, &script.events);
  }
  v1::Usage* usage = script.events.emplace_back().mutable_summary()->mutable_usage();
  usage->set_prompt_tokens(prompt_tokens);
  usage->set_completion_tokens(num_tokens);
  return script;
}

class NoHandle final : public CallHandle {
 public:
  void cancel() override {}
  void set_backlog(size_t) override {}
};

class ScriptedClient final : public InferenceClient {
 public:
  std::unique_ptr<CallHandle> generate(const v1::GenerateRequest& request, const CallOptions&,
                                       std::shared_ptr<CallEvents> events) override {
    return play_to(run_script(request), *events);
  }
  std::unique_ptr<CallHandle> chat(const v1::ChatRequest& request, const CallOptions&,
                                   std::shared_ptr<CallEvents> events) override {
    return play_to(run_script(request), *events);
  }
  std::vector<v1::Model> models() override { return {scripted_model()}; }
  ReadyState ready() override { return {true, "ready"}; }
  bool live() override { return true; }
  std::string version() override { return "1.2.3"; }

 private:
  static std::unique_ptr<CallHandle> play_to(const Script& script, CallEvents& events) {
    for (const auto& event : script.events) {
      events.on_event(event);
    }
    events.on_done(script.status);
    return std::make_unique<NoHandle>();
  }
};

}  // namespace

Script run_script(const v1::ChatRequest& request) {
  std::string prompt;
  for (const auto& message : request.messages()) {
    prompt += message.role() + ": ";
    for (const auto& part : message.content()) {
      prompt += part.text();
    }
  }
  return play(request, prompt);
}

Script run_script(const v1::GenerateRequest& request) {
  return play(request, request.text());
}

v1::Model scripted_model() {
  return make_model("fake/model");
}

std::unique_ptr<InferenceClient> make_scripted_client() {
  return std::make_unique<ScriptedClient>();
}

}  // namespace stet::proxy::testing
