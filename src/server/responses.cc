#include "src/server/responses.h"

#include <atomic>
#include <cmath>
#include <span>

#include "google/rpc/error_details.pb.h"
#include "stet/base/check.h"
#include "stet/base/clock.h"
#include "stet/base/sha256.h"
#include "stet/obs/log.h"
#include "stet/text/detokenizer.h"

namespace stet::server {
namespace {

uint64_t difference(uint64_t later_us, uint64_t earlier_us) {
  return later_us > earlier_us && earlier_us != 0 ? later_us - earlier_us : 0;
}

uint32_t completion_tokens(const CallState& call) {
  uint32_t total = 0;
  for (const ChoiceStream& choice : call.choices) {
    total += choice.completion_tokens();
  }
  return total;
}

}  // namespace

void fill_sampling(const SamplingParams& sampling, bool ignore_eos, uint32_t n,
                   v1::SamplingParams* out) {
  out->Clear();
  out->set_temperature(sampling.temperature);
  out->set_top_p(sampling.top_p);
  out->set_top_k(sampling.top_k);
  out->set_min_p(sampling.min_p);
  out->set_presence_penalty(sampling.presence_penalty);
  out->set_frequency_penalty(sampling.frequency_penalty);
  out->set_repetition_penalty(sampling.repetition_penalty);
  out->set_seed(sampling.seed);
  for (const auto& [id, bias] : sampling.logit_bias) {
    (*out->mutable_logit_bias())[id] = bias;
  }
  out->mutable_allowed_token_ids()->Add(sampling.allowed_token_ids.begin(),
                                        sampling.allowed_token_ids.end());
  out->set_max_tokens(sampling.max_tokens);
  out->set_min_tokens(sampling.min_tokens);
  out->set_ignore_eos(ignore_eos);
  out->set_n(n);
}

void fill_started(const CallState& call, const std::vector<uint32_t>& prompt_ids,
                  v1::Started* out) {
  out->Clear();
  out->set_request_id(call.request_id);
  out->set_model(call.model->id);
  out->set_fingerprint(call.model->fingerprint);
  out->set_created_unix_ms(wall_clock_unix_ms());
  out->set_prompt_tokens(static_cast<uint32_t>(prompt_ids.size()));
  fill_sampling(call.spec.sampling, call.spec.ignore_eos, call.spec.num_choices,
                out->mutable_effective_sampling());
  if (call.spec.output.want_prompt_ids) {
    out->mutable_prompt_token_ids()->Add(prompt_ids.begin(), prompt_ids.end());
  }
  if (call.spec.output.want_prompt_text) {
    // What the model sees, special tokens by name.
    std::string bytes;
    for (const uint32_t id : prompt_ids) {
      bytes += call.model->tokenizer->token_bytes(id);
    }
    text::append_utf8_lossy(bytes, out->mutable_prompt_text());
  }
}

void fill_summary(const CallState& call, uint64_t now_us, v1::Summary* out) {
  out->Clear();
  STET_CHECK(call.end.has_value(), "a summary follows the engine's last word");
  const engine::EngineEvent& end = *call.end;
  v1::Usage* usage = out->mutable_usage();
  usage->set_prompt_tokens(call.prompt_tokens);
  usage->set_completion_tokens(completion_tokens(call));
  usage->set_cached_prompt_tokens(end.cached_prompt_tokens);
  usage->set_prefill_token_equivalents(
      static_cast<uint64_t>(std::llround(end.prefill_token_equivalents)));
  v1::Timings* timings = out->mutable_timings();
  const engine::RequestTimes& t = end.times;
  timings->set_queue_us(difference(t.first_scheduled_us, call.received_us));
  timings->set_prefill_us(difference(t.first_token_us, t.first_scheduled_us));
  timings->set_decode_us(difference(t.ended_us, t.first_token_us));
  timings->set_first_token_us(difference(t.first_token_us, call.received_us));
  timings->set_total_us(difference(now_us, call.received_us));
  timings->set_preemptions(end.num_preemptions);
  out->set_exact(true);
  out->set_kv_mode(call.model->kv_mode);
}

v1::Model model_message(const ServedModel& model, const Limits& limits, int64_t created_unix_s) {
  v1::Model out;
  out.set_id(model.id);
  out.set_state(model.engine == nullptr ? v1::MODEL_STATE_LOADING : v1::MODEL_STATE_READY);
  out.set_architecture(model.architecture);
  out.set_quantization(model.quantisation);
  out.set_max_model_len(model.engine == nullptr ? 0 : model.engine->max_model_len());
  out.set_vocab_size(model.vocab_size);
  for (const uint32_t id : model.tokenizer->end_of_generation_ids()) {
    out.add_eos_token_ids(id);
  }
  if (model.tokenizer->bos_id() >= 0) {
    out.set_bos_token_id(static_cast<uint32_t>(model.tokenizer->bos_id()));
  }
  out.set_fingerprint(model.fingerprint);
  fill_sampling(SamplingParams{}, /*ignore_eos=*/false, /*n=*/1, out.mutable_default_sampling());
  out.mutable_default_sampling()->clear_seed();        // drawn per request
  out.mutable_default_sampling()->clear_max_tokens();  // what is left of the model length
  const std::string& source = model.chat_template->source();
  out.set_chat_template_sha256(to_hex(sha256(std::as_bytes(std::span(source)))));
  out.set_created_unix_s(created_unix_s);
  v1::Limits* caps = out.mutable_limits();
  caps->set_max_n(limits.max_n);
  caps->set_max_logprobs(limits.max_logprobs);
  caps->set_max_stop_strings(limits.max_stop_strings);
  caps->set_max_stop_bytes(limits.max_stop_bytes);
  caps->set_max_logit_bias(limits.max_logit_bias);
  caps->set_max_request_bytes(limits.max_request_bytes);
  caps->set_max_output_tokens(limits.max_output_tokens);
  return out;
}

std::string reason_of(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  for (const auto& detail : status.details()) {
    if (detail.UnpackTo(&info)) {
      return info.reason();
    }
  }
  return "internal";
}

void log_call(const CallState& call, const google::rpc::Status& status, uint64_t now_us) {
  constexpr uint32_t kMaxLinesPerSecond = 100;
  static std::atomic<uint64_t> second{0};
  static std::atomic<uint32_t> lines{0};
  if (const uint64_t now_s = now_us / 1'000'000; second.exchange(now_s) != now_s) {
    lines = 0;
  }
  if (status.code() == 0 && ++lines > kMaxLinesPerSecond) {
    return;
  }
  const uint64_t total_ms = difference(now_us, call.received_us) / 1000;
  const std::string model = call.model ? call.model->id : "";
  if (status.code() != 0) {
    obs::log_info("server", "request_ended",
                  {{"req", call.request_id},
                   {"model", model},
                   {"prompt_tokens", call.prompt_tokens},
                   {"output_tokens", completion_tokens(call)},
                   {"total_ms", total_ms},
                   {"end", "error"},
                   {"code", std::string(status_code_name(static_cast<StatusCode>(status.code())))},
                   {"reason", reason_of(status)}});
    return;
  }
  STET_CHECK(call.end.has_value(), "a call that ended well has the engine's last word");
  const engine::EngineEvent& end = *call.end;
  const engine::RequestTimes& t = end.times;
  const uint64_t first_token_ms = difference(t.first_token_us, call.received_us) / 1000;
  obs::log_info("server", "request_ended",
                {{"req", call.request_id},
                 {"model", model},
                 {"prompt_tokens", call.prompt_tokens},
                 {"cached_tokens", end.cached_prompt_tokens},
                 {"output_tokens", completion_tokens(call)},
                 {"queue_ms", difference(t.first_scheduled_us, call.received_us) / 1000},
                 {"ttft_ms", first_token_ms},
                 {"total_ms", total_ms},
                 {"end", "ok"}});
}

}  // namespace stet::server
