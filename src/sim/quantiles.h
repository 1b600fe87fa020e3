// Quantiles of many numbers.
#pragma once

#include <cstdint>
#include <vector>

namespace stet::sim {

// The smallest value that at least a share q of all are not above (nearest rank); 0 of nothing.
double quantile(std::vector<double> values, double q);
double mean(const std::vector<double>& values);

// Counts of whole numbers in buckets of at most 1/128 of their value: exact below 256, so for tens
// of millions of gaps in microseconds it needs no memory worth speaking of.
class LogHistogram {
 public:
  void add(uint64_t value);
  uint64_t count() const { return count_; }
  double quantile(double q) const;  // the upper border of the bucket, less one

 private:
  std::vector<uint64_t> buckets_;
  uint64_t count_ = 0;
};

}  // namespace stet::sim
