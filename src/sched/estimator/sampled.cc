// Several futures drawn from the history, each exact in its peak; the largest counts. The published
// scheduler draws anew in every step, so that its estimate jitters and admission waits for a lucky
// draw. Here a sequence keeps its quantiles u = hash(sequence, k) for life: a prediction moves only
// when its output or the history does, and a replay is exact.
#include <algorithm>
#include <array>

#include "src/sched/estimator/padding.h"
#include "src/sched/estimator/peak_profile.h"

namespace stet::sched {
namespace {

constexpr uint32_t kNumFutures = 8;  // the largest of 8 means stands 1.4 deviations above the mean

// SplitMix64 finaliser, to (0, 1).
double quantile(SeqId seq, uint32_t future) {
  uint64_t x = (seq.v * kNumFutures + future + 1) * 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  x ^= x >> 31;
  return (static_cast<double>(x >> 11) + 0.5) * 0x1.0p-53;
}

// The last step in which P(alive) is still u or more.
uint32_t drawn_last_step(const SeqMemory& s, double u) {
  const uint32_t longest = last_step_of(s, s.max_outputs);
  if (s.lengths == nullptr) {
    return longest;
  }
  const std::array<float, kNumLengthBuckets>& alive = s.lengths->alive;
  const auto target = static_cast<float>(u * s.lengths->at(s.num_outputs));
  const auto end =
      std::partition_point(alive.begin(), alive.end(), [&](float p) { return p >= target; });
  const auto bucket = static_cast<uint32_t>(end - alive.begin());  // >= 1: alive[0] = 1
  if (bucket == kNumLengthBuckets) {
    return longest;
  }
  const uint32_t last_alive = std::max(length_bucket_first(bucket) - 1, s.num_outputs);
  return std::min(longest, s.first_token_step + last_alive - s.num_outputs);
}

class Sampled final : public MemoryEstimator {
 public:
  void build(std::span<const SeqMemory> seqs, const PoolShape& pool) override {
    block_tokens_ = pool.block_tokens;
    for (uint32_t k = 0; k < kNumFutures; ++k) {
      futures_[k].clear(pool.num_blocks, pool.block_tokens);
      for (const SeqMemory& s : seqs) {
        futures_[k].add(item(s, k));
      }
      futures_[k].finish();
    }
  }
  uint64_t peak() const override {
    uint64_t most = 0;
    for (const PeakProfile& future : futures_) {
      most = std::max(most, future.peak());
    }
    return most;
  }
  uint64_t peak_with(const SeqMemory& candidate) const override {
    uint64_t most = 0;
    for (uint32_t k = 0; k < kNumFutures; ++k) {
      const PeakProfile::Item added = item(candidate, k);
      most = std::max(most, futures_[k].peak_with(added.held_tokens, added.last_step));
    }
    return most;
  }
  void insert(const SeqMemory& candidate) override {
    for (uint32_t k = 0; k < kNumFutures; ++k) {
      PeakProfile::Item added = item(candidate, k);
      added.table = {};
      futures_[k].insert(added);
    }
  }

 private:
  PeakProfile::Item item(const SeqMemory& s, uint32_t future) const {
    if (s.known_outputs != 0) {
      return {held_at_most(s, block_tokens_), last_step_of(s, s.known_outputs), s.table};
    }
    return {held_on_average(s, block_tokens_), drawn_last_step(s, quantile(s.seq, future)),
            s.table};
  }

  std::array<PeakProfile, kNumFutures> futures_;
  uint32_t block_tokens_ = 64;
};

}  // namespace

std::unique_ptr<MemoryEstimator> sampled_estimator() {
  return std::make_unique<Sampled>();
}

}  // namespace stet::sched
