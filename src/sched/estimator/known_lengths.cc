#include "src/sched/estimator/known_lengths.h"

#include <algorithm>

namespace stet::sched {

void KnownLengths::clear(uint32_t num_blocks, uint32_t block_tokens) {
  each_.clear(num_blocks, block_tokens);
  together_.clear(num_blocks, block_tokens);
  num_at_.assign(block_tokens, 0);
  num_decoding_ = num_prefilling_ = 0;
  padding_ = 0;
  block_tokens_ = block_tokens;
}

void KnownLengths::add(const SeqMemory& s) {
  const uint32_t last_step = last_step_of(s, s.known_outputs);
  each_.add({held_at_most(s), last_step, s.table});
  together_.add({s.num_known_tokens, last_step, s.table});
  note_remainder(s);
}

void KnownLengths::note_remainder(const SeqMemory& s) {
  if (s.first_token_step > 0) {
    ++num_prefilling_;
  } else {
    ++num_decoding_;
    ++num_at_[s.num_known_tokens % block_tokens_];
  }
}

void KnownLengths::finish() {
  each_.finish();
  together_.finish();
  set_padding();
}

// At step t a sequence of n tokens has -(n + t) mod B left in its last block: one less per step,
// and B - 1 after it was full.
void KnownLengths::set_padding() {
  const uint32_t b = block_tokens_;
  uint64_t padding = 0;
  for (uint32_t remainder = 1; remainder < b; ++remainder) {
    padding += uint64_t{num_at_[remainder]} * (b - remainder);
  }
  uint64_t most = padding;
  for (uint32_t t = 0; t + 1 < b; ++t) {
    padding += uint64_t{num_at_[(b - t) % b]} * b;  // those full at step t
    padding -= num_decoding_;
    most = std::max(most, padding);
  }
  padding_ = most + uint64_t{num_prefilling_} * (b - 1);
}

uint64_t KnownLengths::peak() const {
  return std::min(each_.peak(), together_.peak() + padding_);
}

uint64_t KnownLengths::peak_with(const SeqMemory& s) const {
  const uint32_t last_step = last_step_of(s, s.known_outputs);
  return std::min(each_.peak_with(held_at_most(s), last_step),
                  together_.peak_with(held_at_most(s), last_step) + padding_);
}

void KnownLengths::insert(const SeqMemory& s) {
  const uint32_t last_step = last_step_of(s, s.known_outputs);
  each_.insert({held_at_most(s), last_step, {}});
  together_.insert({held_at_most(s), last_step, {}});  // its padding included, at any step
}

uint64_t KnownLengths::demand_at(uint32_t step) const {
  return std::min(each_.demand_at(step), together_.demand_at(step) + padding_);
}

}  // namespace stet::sched
