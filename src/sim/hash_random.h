// Random numbers by hashing. The distributions of <random> differ between standard libraries; these
// do not (log, cos and exp may differ in a last bit between C libraries, which shows only when a
// value stands within 1e-15 of a rounding border).
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace stet::sim {

// SplitMix64's finaliser (Steele, Lea, Flood 2014): every input bit reaches every output bit.
constexpr uint64_t mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

class HashRandom {
 public:
  explicit HashRandom(uint64_t seed) : state_(mix64(seed)) {}

  uint64_t next() { return mix64(state_++); }
  // In (0, 1): the middle of one of 2^53 equal intervals.
  double uniform() { return (static_cast<double>(next() >> 11) + 0.5) * 0x1p-53; }
  double exponential(double mean) { return -mean * std::log(uniform()); }
  // Box and Muller 1958, the cosine half only: one normal per two uniforms keeps calls independent
  // of what was drawn before.
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log(uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }
  double lognormal(double mu, double sigma) { return std::exp(mu + sigma * normal()); }

 private:
  uint64_t state_;
};

}  // namespace stet::sim
