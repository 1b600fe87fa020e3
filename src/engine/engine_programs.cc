// Turns of programs: their place in the order, and the contexts that are kept for their follow-ups.
#include "src/engine/engine_core.h"

namespace stet::engine {

// Before the request waits: its order key is the program's.
void EngineCore::begin_turn(RequestState& state, const Request& request) {
  const Sequence& s = *state.choices.front();
  const sched::Programs::Turn turn =
      programs_.begin_turn(request.tenant, request.program, kv_->hash_blocks(s.id, s.token_ids),
                           state.times.submitted_us);
  state.program = turn.program;
  state.order_key =
      policy_.order->key({.arrival_us = turn.arrival_us,
                          .priority_class = request.priority_class,
                          .ttft_target_us = ttft_target_us(request),
                          .prefill_us = static_cast<uint64_t>(prefill_us(state.prompt_len))});
}

// A choice has ended well and still holds its blocks. Which of several choices the client goes on
// with is not known, so nothing is kept for those.
void EngineCore::keep_for_followup(const Sequence& s) {
  const Request& request = s.owner->request;
  const ProgramHints& hints = request.program;
  if (!hints.expects_followup || hints.end_of_program || request.num_choices > 1) {
    return;
  }
  const uint64_t now = now_us();
  const sched::KeepTime keep = programs_.keep(request.tenant, hints, keep_terms(s));
  kv_->unpin(programs_.take_pin(s.owner->program));  // of another branch of the program
  const kv::PinId pin =
      kv_->pin(s.id, {.now_us = now, .until_us = now + keep.ttl_us, .value_us = keep.value_us});
  programs_.expect_followup(s.owner->program, hints, kv_->hash_blocks(s.id, s.token_ids), pin, now);
}

double EngineCore::prefill_us(uint32_t num_tokens) const {
  return sched::prefill_us(learned_.step_time.coefficients(), num_tokens,
                           backend_->info().max_step_tokens);
}

// Not the time in the queue, which Continuum adds: a follow-up waits for its program's place in the
// order whether its context is there or not. decisions/009.
sched::KeepTerms EngineCore::keep_terms(const Sequence& s) const {
  const double share = static_cast<double>(kv_->num_blocks_of(s.id)) / kv_->num_blocks();
  return {.saved_us = prefill_us(s.num_computed_tokens),
          .cost_per_us = share * totals_.last_step.waiting.memory};
}

}  // namespace stet::engine
