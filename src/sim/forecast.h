// Scores memory estimators on the batches that a replay forms: forecast peak of a batch beside the
// peak it would truly reach if nobody else joined (scheduler.md sec. 4).
//
// A batch is scored at the moment of an admission: that is when the forecast decides, and when the
// length histories were just brought up to date. Prefill steps are the same for forecast and truth,
// so what differs is the output lengths, and the whole blocks that the estimators bound from above.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/sim/replay.h"
#include "stet/sched/memory_estimator.h"

namespace stet::sim {

// In tokens of whole blocks. `seqs` have their known_outputs; tables hold the shared blocks only.
uint64_t true_peak(std::span<const sched::SeqMemory> seqs, const sched::PoolShape& pool);

struct ForecastSample {
  uint64_t at_us = 0;
  uint32_t num_seqs = 0;
  uint64_t used_tokens = 0;  // blocks in use now
  uint64_t true_peak = 0;
  uint64_t moments = 0, sampled = 0;  // forecasts of the two estimators
  uint64_t moments_true_lengths = 0;  // what is left of the error when all lengths are known
};

class ForecastScore final : public StepObserver {
 public:
  // Every `every`-th step that admits.
  ForecastScore(const Trace& trace, uint32_t every);
  void on_step(const engine::SteppedEngine& engine, const SimBackend& backend,
               uint64_t now_us) override;
  const std::vector<ForecastSample>& samples() const { return samples_; }

 private:
  struct Member {
    uint64_t order_key = 0;
    uint32_t num_wanted = 0;  // positions; more than one = it prefills
    sched::OutputState output;
    sched::SeqMemory memory;
  };
  void gather(const engine::SteppedEngine& engine);
  void set_first_token_steps(const sched::SchedView& view);
  void keep_shared_blocks(const engine::SteppedEngine& engine);
  void describe(const engine::SteppedEngine& engine, const SimBackend& backend, bool true_lengths);

  const Trace& trace_;
  const uint32_t every_;
  const std::unique_ptr<sched::MemoryEstimator> moments_, sampled_;
  uint32_t num_admitting_ = 0;
  std::vector<Member> members_;  // oldest first
  std::vector<sched::SeqMemory> seqs_;
  std::vector<uint32_t> num_holders_;  // per block
  std::vector<ForecastSample> samples_;
};

// A Markdown table and the same as rows of (estimator, figures): errors in per cent of the pool.
struct ForecastError {
  std::string estimator;
  size_t num_batches = 0;
  double mean = 0.0, p5 = 0.0, p50 = 0.0, p95 = 0.0;
  double too_low = 0.0;  // share of batches whose forecast was below the truth
};
std::vector<ForecastError> forecast_errors(const std::vector<ForecastSample>& samples,
                                           uint64_t pool_tokens);
std::string markdown_table(const std::vector<ForecastError>& errors);
// Memory in use, forecast and true peak over time.
std::string forecast_svg(const std::vector<ForecastSample>& samples, uint64_t pool_tokens,
                         const std::string& title);

}  // namespace stet::sim
