// A Backend that computes nothing: steps take the time of a MachineModel, tokens are hashes of
// (request, position), and a sequence ends by sampling a stop token at the length its trace names.
// Unlike FakeBackend it keeps no KV content, so a position costs nothing; the rules of backend.h
// that are free to check are checked.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "src/sim/step_model.h"
#include "src/sim/trace.h"
#include "stet/executor/backend.h"

namespace stet::sim {

inline constexpr uint32_t kEndToken = 0;  // sampled at the trace's output length, and nowhere else
inline constexpr uint32_t kVocabSize = 1U << 20;

// Who owns time. `run_until` is called while a step "runs": what happens meanwhile, happens there.
class VirtualTime {
 public:
  virtual ~VirtualTime() = default;
  virtual uint64_t now_us() const = 0;
  virtual void run_until(uint64_t at_us) = 0;
};

// Adds the host's time between construction and destruction to a sum.
class HostTimer {
 public:
  explicit HostTimer(uint64_t* sum_ns) : sum_ns_(sum_ns), start_(Now::now()) {}
  ~HostTimer() {
    *sum_ns_ += static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Now::now() - start_).count());
  }
  HostTimer(const HostTimer&) = delete;
  HostTimer& operator=(const HostTimer&) = delete;

 private:
  using Now = std::chrono::steady_clock;
  uint64_t* const sum_ns_;
  const Now::time_point start_;
};

// Positions by why they were computed, or were not.
struct SimWork {
  uint64_t prefill_new = 0;  // of prompts, for the first time
  uint64_t recomputed = 0;   // computed before, lost by a preemption
  uint64_t decoded = 0;      // one per output but the last
  uint64_t from_cache = 0;   // prefill that a prefix hit saved, at first starts and at resumes
  uint64_t num_steps = 0;    // with rows
  double recomputed_share() const {
    const auto prefill = static_cast<double>(prefill_new + recomputed);
    return prefill == 0.0 ? 0.0 : static_cast<double>(recomputed) / prefill;
  }
};

// The prompt of a request: tokens of its own, or what its prefix ids name, so that equal ids at
// equal places give equal tokens and the prefix cache hits.
std::vector<uint32_t> prompt_of(const TraceRequest& request, uint64_t index, uint64_t seed);

// A request says which row of the trace it is by SamplingParams::seed. Owned by the step thread.
class SimBackend final : public executor::Backend {
 public:
  SimBackend(const MachineModel& machine, std::span<const TraceRequest> requests, uint64_t seed,
             VirtualTime* time);

  const executor::BackendInfo& info() const override { return info_; }
  executor::Ticket submit(const StepBatch& batch) override;
  void wait(executor::Ticket ticket, StepResult* result) override;

  const SimWork& work() const { return work_; }
  // The row of the trace that a started sequence replays.
  uint64_t request_of(SeqId seq) const { return sequences_[seq.v].request; }
  uint64_t host_ns() const { return host_ns_; }  // spent here, run_until included

 private:
  struct SimSequence {
    uint64_t request = 0;
    uint32_t prompt_len = 0;
    uint32_t num_known = 0;
    uint32_t next_pos = 0;
    bool started = false;  // has had a row
  };
  void create(const NewSequence& record);
  void compute(const BatchRow& row);
  void count_work(const BatchRow& row, SimSequence& s);

  const MachineModel machine_;
  const std::span<const TraceRequest> requests_;
  const uint64_t seed_;
  VirtualTime* const time_;
  const executor::BackendInfo info_;
  std::vector<SimSequence> sequences_;  // by SeqId, which the engine counts from 1
  std::vector<uint32_t> reached_;       // [requests] positions ever computed, or hit
  StepResult result_;
  uint64_t ends_us_ = 0;
  SimWork work_;
  uint64_t host_ns_ = 0;
};

}  // namespace stet::sim
