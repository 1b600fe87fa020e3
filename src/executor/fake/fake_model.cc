#include <algorithm>

#include "stet/executor/fake_backend.h"

namespace stet::executor {
namespace {
// SplitMix64's finaliser (Steele, Lea, Flood 2014): every input bit reaches every output bit.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}
bool contains(const std::vector<uint32_t>& ascending, uint32_t id) {
  return std::binary_search(ascending.begin(), ascending.end(), id);
}
}  // namespace

uint64_t FakeModel::chain(uint64_t before, uint32_t token_id, uint32_t position) const {
  return mix(mix(before ^ token_id) + position) | 1;  // never 0, which is poison
}

bool FakeModel::faulty(uint64_t chain) const {
  return fault_period_ != 0 && mix(chain ^ 0xFA) % fault_period_ == 0;
}

uint32_t FakeModel::sample(uint64_t chain, const SamplingParams& sampling, uint32_t choice,
                           uint32_t output_pos) const {
  const bool greedy = sampling.temperature == 0.0f;
  uint64_t h = mix(chain + output_pos);
  if (!greedy) {
    h = mix(h ^ sampling.seed) + choice;
  }
  for (;; h = mix(h)) {
    const auto token_id = static_cast<uint32_t>(mix(h) % vocab_size_);
    if (output_pos >= sampling.min_tokens || !contains(sampling.stop_token_ids, token_id)) {
      return token_id;
    }
  }
}

FakeModel::Solo FakeModel::solo(const Request& request, uint32_t choice) const {
  Solo run;
  run.output_token_ids = request.output_token_ids;
  if (!run.output_token_ids.empty() &&
      contains(request.sampling.stop_token_ids, run.output_token_ids.back())) {
    run.reason = FinishReason::kStop;
    run.stop_token_id = run.output_token_ids.back();
    return run;  // a resumed run that was complete computes nothing
  }
  if (run.output_token_ids.size() >= request.sampling.max_tokens) {
    return run;
  }
  uint64_t c = chain_start();
  uint32_t position = 0;
  const auto feed = [&](uint32_t token_id) {
    c = chain(c, token_id, position++);
    run.faulted = run.faulted || faulty(c);
  };
  for (const std::vector<uint32_t>* ids : {&request.prompt_token_ids, &request.output_token_ids}) {
    std::for_each(ids->begin(), ids->end(), feed);
  }
  while (!run.faulted && run.output_token_ids.size() < request.sampling.max_tokens) {
    const auto output_pos = static_cast<uint32_t>(run.output_token_ids.size());
    const uint32_t token_id = sample(c, request.sampling, choice, output_pos);
    run.output_token_ids.push_back(token_id);
    if (contains(request.sampling.stop_token_ids, token_id)) {
      run.reason = FinishReason::kStop;
      run.stop_token_id = token_id;
      break;
    }
    if (run.output_token_ids.size() < request.sampling.max_tokens) {
      feed(token_id);  // the last token's own position is never computed
    }
  }
  return run;
}

}  // namespace stet::executor
