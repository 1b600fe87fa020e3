#include "src/sim/quantiles.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <numeric>

namespace stet::sim {
namespace {

constexpr uint32_t kSubBits = 7;  // 128 buckets per octave

// Below 2^8 every value has its own bucket; above, the leading 8 bits say which.
uint32_t bucket_of(uint64_t value) {
  const auto width = static_cast<uint32_t>(std::bit_width(value));
  const uint32_t shift = width > kSubBits + 1 ? width - (kSubBits + 1) : 0;
  return (shift << kSubBits) + static_cast<uint32_t>(value >> shift);
}

uint64_t last_of(uint32_t bucket) {
  const uint32_t octave = bucket >> kSubBits;
  const uint32_t shift = octave > 1 ? octave - 1 : 0;
  const uint64_t leading = bucket - (uint64_t{shift} << kSubBits);
  return ((leading + 1) << shift) - 1;
}

uint64_t rank_of(double q, uint64_t count) {
  const auto rank = static_cast<uint64_t>(std::ceil(q * static_cast<double>(count)));
  return std::clamp<uint64_t>(rank, 1, count);
}

}  // namespace

double quantile(std::vector<double> values, double q) {
  if (values.empty()) {
    return 0.0;
  }
  const auto at = values.begin() + static_cast<ptrdiff_t>(rank_of(q, values.size()) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0.0
                        : std::accumulate(values.begin(), values.end(), 0.0) /
                              static_cast<double>(values.size());
}

void LogHistogram::add(uint64_t value) {
  const uint32_t bucket = bucket_of(value);
  if (buckets_.size() <= bucket) {
    buckets_.resize(bucket + 1, 0);
  }
  ++buckets_[bucket];
  ++count_;
}

double LogHistogram::quantile(double q) const {
  if (count_ == 0) {
    return 0.0;
  }
  uint64_t left = rank_of(q, count_);
  for (uint32_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    if (buckets_[bucket] >= left) {
      return static_cast<double>(last_of(bucket));
    }
    left -= buckets_[bucket];
  }
  return 0.0;
}

}  // namespace stet::sim
