#include "src/cli/sampling_flags.h"

#include <CLI/CLI.hpp>

#include "stet/v1/inference.pb.h"

namespace stet::cli {

void SamplingFlags::add_to(CLI::App* app) {
  app->add_option("--model", model, "Model id; the daemon's default when not given");
  app->add_option("--temperature", temperature, "0 = greedy");
  app->add_option("--top-p", top_p, "Nucleus: 0..1");
  app->add_option("--top-k", top_k, "0 = off");
  app->add_option("--min-p", min_p, "0..1");
  app->add_option("--repetition-penalty", repetition_penalty, "1 = none");
  app->add_option("--max-tokens", max_tokens, "Longest answer");
  app->add_option("--seed", seed, "Equal seed, equal answer");
  app->add_option("--stop", stop, "End at this text; may repeat");
  app->add_flag("--quiet", quiet, "No figures after the answer");
}

void SamplingFlags::apply(v1::SamplingParams* sampling, v1::StopParams* stop_params) const {
  const auto set = [](const auto& value, const auto& setter) {
    if (value) {
      setter(*value);
    }
  };
  set(temperature, [&](float v) { sampling->set_temperature(v); });
  set(top_p, [&](float v) { sampling->set_top_p(v); });
  set(min_p, [&](float v) { sampling->set_min_p(v); });
  set(repetition_penalty, [&](float v) { sampling->set_repetition_penalty(v); });
  set(top_k, [&](uint32_t v) { sampling->set_top_k(v); });
  set(max_tokens, [&](uint32_t v) { sampling->set_max_tokens(v); });
  set(seed, [&](uint64_t v) { sampling->set_seed(v); });
  for (const std::string& text : stop) {
    stop_params->add_strings(text);
  }
}

}  // namespace stet::cli
