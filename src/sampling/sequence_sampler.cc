#include "stet/sampling/sequence_sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "stet/base/check.h"

namespace stet::sampling {
namespace {

constexpr float kBarred = -std::numeric_limits<float>::infinity();
constexpr float kMaxLogit = std::numeric_limits<float>::max();

// Distinct ids that prompt and all outputs can have.
uint32_t max_penalty_entries(const NewSequence& record, uint32_t vocab_size, bool penalised) {
  if (!penalised) {
    return 0;
  }
  const uint64_t tokens =
      uint64_t{record.prompt_token_ids.size()} +
      std::max<uint64_t>(record.sampling.max_tokens, record.output_token_ids.size());
  return static_cast<uint32_t>(std::min<uint64_t>(tokens, vocab_size));
}

bool has_penalties(const SamplingParams& p) {
  return p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f || p.repetition_penalty != 1.0f;
}

uint32_t hash(uint32_t token_id) {
  return token_id * 2654435769u;
}  // Fibonacci hashing

}  // namespace

SamplerScratch::SamplerScratch(uint32_t vocab_size)
    : logits_(vocab_size), storage_(kernels::sample_scratch_bytes(vocab_size) + 64) {
  const auto address = reinterpret_cast<uintptr_t>(storage_.data());
  sample_bytes_ = storage_.data() + ((address + 63) / 64 * 64 - address);
}

uint64_t SamplerScratch::bytes(uint32_t vocab_size) {
  return uint64_t{vocab_size} * sizeof(float) + kernels::sample_scratch_bytes(vocab_size) + 64;
}

PenaltyState::PenaltyState(uint32_t max_entries) {
  entries_.reserve(max_entries);
  if (max_entries > 0) {
    uint32_t slots = 16;
    while (slots < 2 * max_entries) {
      slots *= 2;
    }
    table_.assign(slots, 0);
  }
}

PenaltyState::Entry& PenaltyState::find_or_add(uint32_t token_id) {
  const auto mask = static_cast<uint32_t>(table_.size() - 1);
  for (uint32_t slot = hash(token_id) & mask;; slot = (slot + 1) & mask) {
    if (table_[slot] == 0) {
      STET_CHECK(entries_.size() < entries_.capacity(),
                 "more distinct tokens than the sequence can have");
      entries_.push_back({token_id, 0});
      table_[slot] = static_cast<uint32_t>(entries_.size());
      return entries_.back();
    }
    if (Entry& entry = entries_[table_[slot] - 1]; entry.token_id == token_id) {
      return entry;
    }
  }
}

void PenaltyState::add_prompt_token(uint32_t token_id) {
  find_or_add(token_id);
}
void PenaltyState::add_output_token(uint32_t token_id) {
  ++find_or_add(token_id).output_count;
}

SequenceSampler::SequenceSampler(const NewSequence& record, uint32_t vocab_size)
    : vocab_size_(vocab_size),
      choice_(record.choice),
      params_(record.sampling),
      num_output_tokens_(static_cast<uint32_t>(record.output_token_ids.size())),
      penalised_(has_penalties(record.sampling)),
      penalties_(max_penalty_entries(record, vocab_size, has_penalties(record.sampling))) {
  STET_CHECK(!params_.num_logprobs || *params_.num_logprobs <= kMaxTopLogprobs,
             "num_logprobs was validated");
  if (!penalised_) {
    return;
  }
  if (params_.repetition_penalty != 1.0f) {
    for (uint32_t id : record.prompt_token_ids) {
      penalties_.add_prompt_token(id);
    }
  }
  for (uint32_t id : record.output_token_ids) {
    penalties_.add_output_token(id);
  }
}

bool SequenceSampler::needs_processing() const {
  return !params_.logit_bias.empty() || !params_.allowed_token_ids.empty() ||
         (num_output_tokens_ < params_.min_tokens && !params_.stop_token_ids.empty()) ||
         (penalised_ && !penalties_.entries().empty());
}

bool SequenceSampler::process(std::span<float> logits) const {
  bool finite = true;
  for (const auto& [id, bias] : params_.logit_bias) {
    logits[id] = logits[id] + bias;
    finite &= std::isfinite(logits[id]);
  }
  if (!params_.allowed_token_ids.empty()) {
    size_t next = 0;  // ascending ids: everything between two allowed ones is barred
    for (uint32_t id : params_.allowed_token_ids) {
      std::fill(logits.begin() + static_cast<ptrdiff_t>(next), logits.begin() + id, kBarred);
      next = size_t{id} + 1;
    }
    std::fill(logits.begin() + static_cast<ptrdiff_t>(next), logits.end(), kBarred);
  }
  if (num_output_tokens_ < params_.min_tokens) {
    for (uint32_t id : params_.stop_token_ids) {
      logits[id] = kBarred;
    }
  }
  for (const PenaltyState::Entry& entry : penalties_.entries()) {
    float x = logits[entry.token_id];
    if (x == kBarred) {
      continue;
    }
    if (params_.repetition_penalty != 1.0f) {
      // A penalty near 0 is in range: what it lifts above all floats is the largest one, no fault.
      x = x > 0.0f ? std::min(x / params_.repetition_penalty, kMaxLogit)
                   : x * params_.repetition_penalty;
    }
    if (entry.output_count > 0) {
      x = x - static_cast<float>(entry.output_count) * params_.frequency_penalty;
      x = x - params_.presence_penalty;
    }
    logits[entry.token_id] = x;
    finite &= std::isfinite(x);
  }
  return finite;
}

bool SequenceSampler::sample(const kernels::KernelTable& table, const float* raw,
                             SamplerScratch* scratch, Draw* draw) {
  const kernels::LogSumExp lse = table.log_sum_exp(raw, vocab_size_);
  if (!lse.finite) {
    return false;
  }
  const bool processed = needs_processing();
  const bool greedy = params_.temperature < 0x1p-100f;
  const float* logits = raw;
  if (processed) {
    const std::span<float> copy = scratch->logits();
    std::memcpy(copy.data(), raw, copy.size_bytes());
    if (!process(copy) || *std::max_element(copy.begin(), copy.end()) == kBarred) {
      return false;
    }
    logits = copy.data();
  }
  if (greedy && !processed) {
    draw->token_id = lse.argmax;
  } else {
    kernels::SampleArgs args;
    args.logits = logits;
    args.vocab = vocab_size_;
    args.temperature = params_.temperature;
    args.top_k = params_.top_k;
    args.top_p = params_.top_p;
    args.min_p = params_.min_p;
    args.seed = params_.seed;
    args.output_pos = num_output_tokens_;
    args.choice = choice_;
    args.scratch = scratch->sample_bytes();
    draw->token_id = table.sample(args);
  }
  draw->logprob = 0.0f;
  draw->rank = 0;
  draw->num_top = 0;
  if (params_.num_logprobs) {
    const std::span<const float> all(raw, vocab_size_);
    draw->logprob = kernels::logprob(lse, raw[draw->token_id]);
    draw->rank = rank_of(all, draw->token_id);
    draw->num_top = std::min(*params_.num_logprobs, vocab_size_);
    top_ids(all, draw->num_top, draw->top);
    for (TopLogprob& top : std::span(draw->top, draw->num_top)) {
      top.logprob = kernels::logprob(lse, top.logprob);
    }
    // Different logits may round to one log-probability: the API's order is (logprob, id).
    std::sort(draw->top, draw->top + draw->num_top, [](const TopLogprob& a, const TopLogprob& b) {
      return a.logprob != b.logprob ? a.logprob > b.logprob : a.token_id < b.token_id;
    });
  }
  if (penalised_) {
    penalties_.add_output_token(draw->token_id);
  }
  ++num_output_tokens_;
  return true;
}

void top_ids(std::span<const float> logits, uint32_t num, TopLogprob* out) {
  if (num == 0) {
    return;
  }
  // Insertion into a short sorted list; ids come ascending, so an equal logit goes behind.
  uint32_t filled = 0;
  for (uint32_t id = 0; id < logits.size(); ++id) {
    const float x = logits[id];
    if (filled == num && !(x > out[num - 1].logprob)) {
      continue;
    }
    uint32_t at = filled < num ? filled++ : num - 1;
    for (; at > 0 && x > out[at - 1].logprob; --at) {
      out[at] = out[at - 1];
    }
    out[at] = {id, x};
  }
}

uint32_t rank_of(std::span<const float> logits, uint32_t token_id) {
  const float x = logits[token_id];
  uint32_t before = 0;
  for (uint32_t id = 0; id < token_id; ++id) {
    before += logits[id] >= x ? 1 : 0;
  }
  for (auto id = size_t{token_id} + 1; id < logits.size(); ++id) {
    before += logits[id] > x ? 1 : 0;
  }
  return before + 1;
}

}  // namespace stet::sampling
