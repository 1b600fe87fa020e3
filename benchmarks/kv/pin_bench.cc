// What releasing pins costs a commit: a pool full of pinned contexts of four blocks, and one commit
// that needs the blocks of `released` of them.   kv_pin_bench
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "stet/kv/kv_cache.h"

namespace stet::kv {
namespace {

constexpr uint32_t kBlockTokens = 64;
constexpr uint32_t kBlocksPerPin = 4;
constexpr int kRepetitions = 21;

// Takes blocks for a prompt nobody has had, computes and publishes it; the commit's time.
double start_us(KvCache* kv, SeqId seq, uint64_t step, uint32_t num_blocks) {
  std::vector<uint32_t> prompt(num_blocks * kBlockTokens, static_cast<uint32_t>(seq.v));
  kv->add_sequence(seq, {});
  StepPlan plan;
  plan.step = step;
  plan.admitted = {seq};
  plan.scheduled = {{.seq = seq,
                     .first_pos = kv->match(seq, prompt).num_tokens,
                     .num_scheduled_tokens = num_blocks * kBlockTokens,
                     .num_new_blocks = num_blocks}};
  StepBatch batch;
  const auto begin = std::chrono::steady_clock::now();
  const bool committed = kv->commit(plan, &batch);
  const std::chrono::duration<double, std::micro> us = std::chrono::steady_clock::now() - begin;
  if (!committed) {
    std::fprintf(stderr, "the plan does not fit\n");
    std::exit(1);
  }
  kv->complete_step(step);
  kv->publish(seq, prompt);
  return us.count();
}

double measure(uint32_t num_pins, uint32_t num_released) {
  KvCache kv({.num_blocks = num_pins * kBlocksPerPin,
              .block_tokens = kBlockTokens,
              .eviction = Eviction::kLru});
  for (uint32_t i = 1; i <= num_pins; ++i) {
    start_us(&kv, SeqId{i}, i, kBlocksPerPin);
    kv.pin(SeqId{i}, {.now_us = 0, .until_us = 1000, .value_us = 1.0 + i * 7919 % 1000});
    kv.remove_sequence(SeqId{i});
  }
  const double us = start_us(&kv, SeqId{num_pins + 1}, num_pins + 1, num_released * kBlocksPerPin);
  if (kv.num_pins() + num_released != num_pins) {
    std::fprintf(stderr, "%u pins are left\n", kv.num_pins());
    std::exit(1);
  }
  return us;
}

}  // namespace
}  // namespace stet::kv

int main() {
  std::printf("pins  released  us of the commit (median of %d)\n", stet::kv::kRepetitions);
  for (const uint32_t num_pins : {16U, 128U, 1024U}) {
    for (const uint32_t num_released : {1U, 16U, 256U}) {
      if (num_released > num_pins) {
        continue;
      }
      std::vector<double> us;
      for (int i = 0; i < stet::kv::kRepetitions; ++i) {
        us.push_back(stet::kv::measure(num_pins, num_released));
      }
      std::nth_element(us.begin(), us.begin() + stet::kv::kRepetitions / 2, us.end());
      std::printf("%4u  %8u  %10.1f\n", num_pins, num_released, us[stet::kv::kRepetitions / 2]);
    }
  }
  return 0;
}
