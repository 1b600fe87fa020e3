// SamplingParams, StopParams, OutputOptions and SchedulingHints against the table of ranges.
#include <algorithm>
#include <string>
#include <vector>

#include "src/server/validate_parts.h"

namespace stet::server {
namespace {

std::string element(const char* field, int i) {
  return std::string(field) + "[" + std::to_string(i) + "]";
}

// A list of token ids: size and every id in range, none twice. Returns them sorted.
std::vector<uint32_t> token_ids(ValidationContext& context, const char* field,
                                const google::protobuf::RepeatedField<uint32_t>& ids) {
  check_size(context, field, static_cast<size_t>(ids.size()));
  const std::string rule = std::string(field) + "[]";
  for (int i = 0; i < ids.size() && !context.violations->full(); ++i) {
    check_range(context, rule.c_str(), element(field, i), ids[i], std::to_string(ids[i]));
  }
  std::vector<uint32_t> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    context.violations->add(reason::kOutOfRange, field,
                            "token id " + std::to_string(*twice) + " is listed twice");
  }
  return sorted;
}

void logit_bias(ValidationContext& context, const v1::SamplingParams& in, CallSpec* out) {
  check_size(context, "sampling.logit_bias", in.logit_bias().size());
  auto& pairs = out->sampling.logit_bias;
  pairs.assign(in.logit_bias().begin(), in.logit_bias().end());
  std::sort(pairs.begin(), pairs.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [id, bias] : pairs) {
    if (context.violations->full()) {
      return;
    }
    const std::string path = "sampling.logit_bias[" + std::to_string(id) + "]";
    check_range(context, "sampling.logit_bias[].key", path, id, "token id " + std::to_string(id));
    check_range(context, "sampling.logit_bias[].value", path, static_cast<double>(bias),
                number_text(bias));
  }
}

void limits_of_length(ValidationContext& context, const v1::SamplingParams& in, CallSpec* out) {
  if (in.has_max_tokens() && check_range(context, "sampling.max_tokens", in.max_tokens())) {
    out->max_tokens = in.max_tokens();
    const uint32_t cap = context.limits.max_output_tokens;
    if (cap != 0 && in.max_tokens() > cap) {
      context.violations->add(reason::kOutOfRange, "sampling.max_tokens",
                              std::to_string(in.max_tokens()) + ": must be in 1.." +
                                  std::to_string(cap) + " (limits.max_output_tokens)");
    }
  }
  if (in.has_min_tokens() && check_range(context, "sampling.min_tokens", in.min_tokens())) {
    out->sampling.min_tokens = in.min_tokens();
    // Against the default of max_tokens: prompt.cc, once the prompt is counted.
    if (out->max_tokens && in.min_tokens() > *out->max_tokens) {
      context.violations->add(reason::kOutOfRange, "sampling.min_tokens",
                              std::to_string(in.min_tokens()) + ": must be in 0.." +
                                  std::to_string(*out->max_tokens) + " (max_tokens)");
    }
  }
}

}  // namespace

void validate_sampling(ValidationContext& context, const v1::SamplingParams& in, CallSpec* out) {
  SamplingParams& s = out->sampling;
  const auto number = [&](bool present, const char* field, float value, float* target) {
    if (present && check_range(context, field, value)) {
      *target = value;
    }
  };
  number(in.has_temperature(), "sampling.temperature", in.temperature(), &s.temperature);
  number(in.has_top_p(), "sampling.top_p", in.top_p(), &s.top_p);
  if (in.has_top_k() && check_range(context, "sampling.top_k", in.top_k())) {
    s.top_k = in.top_k();
  }
  number(in.has_min_p(), "sampling.min_p", in.min_p(), &s.min_p);
  number(in.has_presence_penalty(), "sampling.presence_penalty", in.presence_penalty(),
         &s.presence_penalty);
  number(in.has_frequency_penalty(), "sampling.frequency_penalty", in.frequency_penalty(),
         &s.frequency_penalty);
  number(in.has_repetition_penalty(), "sampling.repetition_penalty", in.repetition_penalty(),
         &s.repetition_penalty);
  if (in.has_seed()) {
    out->seed = in.seed();
  }
  logit_bias(context, in, out);
  s.allowed_token_ids = token_ids(context, "sampling.allowed_token_ids", in.allowed_token_ids());
  limits_of_length(context, in, out);
  out->ignore_eos = in.ignore_eos();
  if (in.has_n() && check_range(context, "sampling.n", in.n())) {
    out->num_choices = in.n();
  }
}

void validate_stop(ValidationContext& context, const v1::StopParams& in, CallSpec* out) {
  check_size(context, "stop.strings", static_cast<size_t>(in.strings_size()));
  for (int i = 0; i < in.strings_size() && !context.violations->full(); ++i) {
    const size_t bytes = in.strings(i).size();
    check_range(context, "stop.strings[]", element("stop.strings", i), static_cast<double>(bytes),
                std::to_string(bytes) + " bytes");
  }
  out->output.stop_strings.assign(in.strings().begin(), in.strings().end());
  out->sampling.stop_token_ids = token_ids(context, "stop.token_ids", in.token_ids());
  out->output.include_stop_in_output = in.include_in_output();
}

void validate_output(ValidationContext& context, const v1::OutputOptions& in, CallSpec* out) {
  out->output.final_mode = in.mode() == v1::OUTPUT_MODE_FINAL;
  if (in.has_logprobs() && check_range(context, "output.logprobs", in.logprobs())) {
    out->sampling.num_logprobs = in.logprobs();
    out->output.want_logprobs = true;
  }
  if (in.has_skip_special_tokens()) {
    out->output.skip_special_tokens = in.skip_special_tokens();
  }
  out->output.want_prompt_ids = in.prompt_token_ids();
  out->output.want_prompt_text = in.prompt_text();
  if (in.has_stream_interval() &&
      check_range(context, "output.stream_interval", in.stream_interval())) {
    out->output.stream_interval = in.stream_interval();
  }
  const auto refuse = [&](bool present, const char* field) {
    if (present) {
      context.violations->add(reason::kUnsupported, field, "this server does not serve it");
    }
  };
  refuse(in.has_prompt_logprobs(), "output.prompt_logprobs");
  refuse(in.logprob_token_ids_size() > 0, "output.logprob_token_ids");
  refuse(in.echo_prompt(), "output.echo_prompt");
}

namespace {

void validate_program(ValidationContext& context, const v1::SchedulingHints& in,
                      ProgramHints* out) {
  const v1::Followup& followup = in.expect_followup();
  if (check_size(context, "scheduling.program_id", in.program_id().size()) &&
      !in.program_id().empty() && !is_request_id(in.program_id())) {
    context.violations->add(
        reason::kOutOfRange, "scheduling.program_id",
        "'" + clipped(in.program_id(), 40) + "': must be at most 128 of A-Z a-z 0-9 . _ : -");
  }
  check_range(context, "scheduling.turn", in.turn());
  check_size(context, "scheduling.expect_followup.tool_name", followup.tool_name().size());
  check_range(context, "scheduling.expect_followup.expected_ms", followup.expected_ms());
  if (in.end_of_program() && in.has_expect_followup()) {
    context.violations->add(reason::kMalformed, "scheduling.expect_followup",
                            "must be unset when end_of_program is set: no turn follows the last");
  }
  *out = {.program_id = in.program_id(),
          .turn = in.turn(),
          .end_of_program = in.end_of_program(),
          .expects_followup = in.has_expect_followup(),
          .tool_name = followup.tool_name(),
          .expected_gap_us = uint64_t{followup.expected_ms()} * 1000};
}

}  // namespace

// Hints never change the output.
void validate_scheduling(ValidationContext& context, const v1::SchedulingHints& in, CallSpec* out) {
  if (in.has_priority_class() &&
      check_range(context, "scheduling.priority_class", in.priority_class())) {
    out->priority_class = static_cast<uint8_t>(in.priority_class());
  }
  check_size(context, "scheduling.cache_salt", in.cache_salt().size());
  out->cache_salt = in.cache_salt();
  if (in.service_class() == v1::SERVICE_CLASS_BATCH) {
    out->service_class = stet::ServiceClass::kBatch;
  }
  const auto target = [&](const char* field, uint32_t target_ms, uint64_t* target_us) {
    if (check_range(context, field, target_ms)) {
      *target_us = uint64_t{target_ms} * 1000;
    }
  };
  target("scheduling.ttft_target_ms", in.ttft_target_ms(), &out->ttft_target_us);
  target("scheduling.itl_target_ms", in.itl_target_ms(), &out->itl_target_us);
  out->expected_output_tokens = in.expected_output_tokens();
  validate_program(context, in, &out->program);
}

}  // namespace stet::server
