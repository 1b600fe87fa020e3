#include "stet/sched/step_time.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace stet::sched {
namespace {

constexpr double kForgetting = 0.999;  // of a size, by each of its steps
constexpr double kAging = 0.9984;     // of all sizes, by each refit, down to the weight of one step
constexpr uint64_t kRefitPeriod = 8;  // steps, after the first ones
constexpr uint64_t kRefitAlways = 64;
constexpr double kMostWeight = 64.0;  // of one size of step
constexpr double kKnownWeight = 8.0;  // steps of a size from which on outliers can be told
constexpr double kOutlier = 6.0;      // median errors; 4 standard deviations of a normal error
constexpr double kMedianPace = 1.05;
constexpr double kLeastMedian = 0.005, kMostMedian = 2.0;
constexpr double kLeastUs = 1.0;
// The prior, and how much of a step it weighs. The other coefficients lean to 0 by so little that
// it only decides what nothing else does.
constexpr double kPriorTokenUs = 2000.0;
constexpr double kPriorWeight = 0.01;
constexpr double kLeanWeight = 1e-7;
constexpr double kRidge = 1e-9;  // relative: against rounding where features move together
// A larger knot must fit better by so much; mean squared errors below 0.1 % of the time are equal.
constexpr double kBetterKnot = 0.98;
constexpr double kSameResidual = 1e-6;

// Brings the sums near each other: 4 x 4 systems in double stay well conditioned.
constexpr double kScale[4] = {1.0, 1.0 / 64, 1.0 / 4096, 1.0 / 65536};

// Index of (row, column), row <= column, in the upper triangle of 5 x 5.
constexpr size_t at(size_t row, size_t column) {
  return row * 5 - row * (row + 1) / 2 + column;
}
constexpr size_t kTokens = 1, kTime = 4;

// Half octaves: 1 2 3 4 6 8 12 16 ... Size i holds steps from border(i) to border(i + 1) - 1.
uint32_t border(size_t size) {
  if (size < 2) {
    return static_cast<uint32_t>(size + 1);
  }
  return (size % 2 == 0 ? 3U : 4U) << ((size - 2) / 2);
}
size_t size_of(uint32_t num_tokens, size_t num_sizes) {
  const uint32_t n = std::max(num_tokens, 1U);
  const auto octave = static_cast<size_t>(std::bit_width(n)) - 1;
  if (octave == 0) {
    return 0;
  }
  const bool upper = ((n >> (octave - 1)) & 1U) != 0;
  return std::min(2 * octave - 1 + (upper ? 1U : 0U), num_sizes - 1);
}

using Matrix = std::array<std::array<double, 4>, 4>;
using Vector = std::array<double, 4>;

// Solves A x = b over the features in `used` (bits), 0 elsewhere, by Cholesky. A is positive
// definite: the prior sees to it.
Vector solve(const Matrix& a, const Vector& b, unsigned used) {
  std::array<size_t, 4> index{};
  size_t n = 0;
  for (size_t i = 0; i < 4; ++i) {
    if ((used >> i & 1U) != 0) {
      index[n++] = i;
    }
  }
  Matrix l{};
  Vector y{};
  for (size_t i = 0; i < n; ++i) {
    double rest = b[index[i]];
    for (size_t j = 0; j <= i; ++j) {
      double sum = a[index[i]][index[j]];
      for (size_t k = 0; k < j; ++k) {
        sum -= l[i][k] * l[j][k];
      }
      l[i][j] = i == j ? std::sqrt(std::max(sum, 1e-300)) : sum / l[j][j];
    }
    for (size_t k = 0; k < i; ++k) {
      rest -= l[i][k] * y[k];
    }
    y[i] = rest / l[i][i];
  }
  Vector x{};
  for (size_t i = n; i-- > 0;) {
    double rest = y[i];
    for (size_t k = i + 1; k < n; ++k) {
      rest -= l[k][i] * x[index[k]];
    }
    x[index[i]] = rest / l[i][i];
  }
  return x;
}

// The squared error of x, but for the sum of squares of what is to be met.
double residual_of(const Matrix& a, const Vector& b, const Vector& x) {
  double sum = 0.0;
  for (size_t i = 0; i < 4; ++i) {
    sum -= 2.0 * b[i] * x[i];
    for (size_t j = 0; j < 4; ++j) {
      sum += a[i][j] * x[i] * x[j];
    }
  }
  return sum;
}

bool non_negative(const Vector& x) {
  return std::all_of(x.begin(), x.end(), [](double v) { return v >= 0.0; });
}

// Non-negative least squares, exactly: with four unknowns all sets of them can be tried. Nearly
// always the first holds.
Vector solve_non_negative(const Matrix& a, const Vector& b) {
  constexpr unsigned kAll = 15;
  Vector best = solve(a, b, kAll);
  if (non_negative(best)) {
    return best;
  }
  best = {};
  double least = 0.0;
  for (unsigned used = 1; used < kAll; ++used) {
    const Vector x = solve(a, b, used);
    const double residual = residual_of(a, b, x);
    if (non_negative(x) && residual < least) {
      best = x;
      least = residual;
    }
  }
  return best;
}

// Sums of products of the features 1, tokens, decode context, chunk context, time.
using Sums = std::array<double, 15>;

void add(const Sums& from, double share, Sums* to) {
  for (size_t i = 0; i < from.size(); ++i) {
    (*to)[i] += from[i] * share;
  }
}

struct Fit {
  Vector x{};  // of the features, in their scales
  double residual = 0.0;
};

// Pseudo-observations, as errors relative to the prior: c is kPriorTokenUs, the others are 0.
void add_prior(Matrix* a, Vector* b) {
  for (size_t i = 0; i < 4; ++i) {
    const double feature = kScale[i] / kPriorTokenUs;
    (*a)[i][i] *= 1.0 + kRidge;
    (*a)[i][i] += (i == kTokens ? kPriorWeight : kLeanWeight) * feature * feature;
  }
  (*b)[kTokens] += kPriorWeight * kScale[kTokens] / kPriorTokenUs;
}

// The fit when steps of `below` cost what `knot` tokens (in their scale) do.
Fit fit_knot(const Sums& below, const Sums& above, double knot) {
  const auto sum = [&](size_t i, size_t j) {  // i <= j; the knot stands in place of tokens, below
    const size_t row = i == kTokens ? 0 : i;
    const size_t column = j == kTokens ? 0 : j;
    const double factor = (i == kTokens ? knot : 1.0) * (j == kTokens ? knot : 1.0);
    return below[at(std::min(row, column), std::max(row, column))] * factor + above[at(i, j)];
  };
  Matrix a;
  Vector b;
  for (size_t i = 0; i < 4; ++i) {
    for (size_t j = i; j < 4; ++j) {
      a[i][j] = a[j][i] = sum(i, j);
    }
    b[i] = sum(i, kTime);
  }
  Matrix with_prior = a;
  Vector b_with_prior = b;
  add_prior(&with_prior, &b_with_prior);
  Fit fit{.x = solve_non_negative(with_prior, b_with_prior)};
  fit.residual = residual_of(a, b, fit.x) + sum(kTime, kTime);
  return fit;
}

}  // namespace

StepShape shape_of(const StepPlan& plan) {
  StepShape shape;
  for (const ScheduledSeq& s : plan.scheduled) {
    shape.num_tokens += s.num_scheduled_tokens;
    const uint64_t context = attended(s.first_pos, s.num_scheduled_tokens);
    (s.num_scheduled_tokens == 1 ? shape.decode_context : shape.chunk_context) += context;
  }
  return shape;
}

double StepCoefficients::predict_us(const StepShape& shape) const {
  return a_us + std::max(w_us, c_us * shape.num_tokens) +
         r_us * static_cast<double>(shape.decode_context) +
         q_us * static_cast<double>(shape.chunk_context);
}

StepTimeModel::StepTimeModel() {
  refit();
}

void StepTimeModel::observe(const StepShape& shape, uint64_t step_us) {
  const double actual = std::max(static_cast<double>(step_us), kLeastUs);
  const double predicted = std::max(predict_us(shape), kLeastUs);
  const double error = (actual - predicted) / predicted;
  errors_[num_observed_ % kNumRecentErrors] = static_cast<float>(std::fabs(error));
  ++num_observed_;
  largest_step_tokens_ = std::max(largest_step_tokens_, shape.num_tokens);
  const size_t size = size_of(shape.num_tokens, kNumSizes);
  if (sizes_[size].weight < kKnownWeight) {
    // The prediction is an extrapolation: it cannot tell an outlier. Errors are taken relative to
    // what was measured, which leaves a step that took ten times too long a hundredth of its
    // weight.
    learn(size, shape, actual, actual);
  } else {
    const double most = kOutlier * median_error_ * predicted;
    const double usual = std::clamp(actual, std::max(predicted - most, kLeastUs), predicted + most);
    learn(size, shape, usual, predicted);
    median_error_ *= std::fabs(error) > median_error_ ? kMedianPace : 1.0 / kMedianPace;
    median_error_ = std::clamp(median_error_, kLeastMedian, kMostMedian);
  }
  if (num_observed_ <= kRefitAlways || num_observed_ % kRefitPeriod == 0) {
    age();
    refit();
  }
}

// What is seldom seen anew weighs less and less beside what is, so that it does not hold on to a
// machine that was; but never nothing, for it is all that is known of its size.
void StepTimeModel::age() {
  for (Moments& m : sizes_) {
    if (m.weight > 1.0) {
      const double share = std::max(kAging, 1.0 / m.weight);
      m.weight *= share;
      for (double& sum : m.sum) {
        sum *= share;
      }
    }
  }
}

void StepTimeModel::learn(size_t size, const StepShape& shape, double step_us, double scale_us) {
  const std::array<double, kNumFeatures> f = {
      kScale[0] / scale_us, shape.num_tokens * kScale[1] / scale_us,
      static_cast<double>(shape.decode_context) * kScale[2] / scale_us,
      static_cast<double>(shape.chunk_context) * kScale[3] / scale_us, step_us / scale_us};
  Moments& m = sizes_[size];
  for (size_t i = 0; i < kNumFeatures; ++i) {
    for (size_t j = i; j < kNumFeatures; ++j) {
      m.sum[at(i, j)] = m.sum[at(i, j)] * kForgetting + f[i] * f[j];
    }
  }
  m.weight = m.weight * kForgetting + 1.0;
}

// Knot k: sizes below it have the feature border(k) in place of their tokens. So what the sizes
// remember serves every knot.
void StepTimeModel::refit() {
  const size_t largest = size_of(largest_step_tokens_, kNumSizes);
  const auto share_of = [](const Moments& m) { return std::min(1.0, kMostWeight / m.weight); };
  Sums below{}, above{};
  double weight = 0.0;
  for (size_t s = 0; s <= largest; ++s) {
    if (sizes_[s].weight > 0.0) {
      add(sizes_[s].sum, share_of(sizes_[s]), &above);
      weight += std::min(sizes_[s].weight, kMostWeight);
    }
  }
  Fit best;
  double best_knot = 1.0;
  for (size_t k = 0; k <= largest; ++k) {
    if (k > 0 && sizes_[k - 1].weight > 0.0) {
      const double share = share_of(sizes_[k - 1]);
      add(sizes_[k - 1].sum, -share, &above);
      add(sizes_[k - 1].sum, share, &below);
    }
    const Fit fit = fit_knot(below, above, border(k) * kScale[kTokens]);
    const double same = kSameResidual * weight;
    if (k == 0 || fit.residual + same < kBetterKnot * (best.residual + same)) {
      best = fit;
      best_knot = border(k);
    }
  }
  const double c_us = best.x[kTokens] * kScale[kTokens];
  coefficients_ = {.a_us = best.x[0] * kScale[0],
                   .w_us = c_us * best_knot,
                   .c_us = c_us,
                   .r_us = best.x[2] * kScale[2],
                   .q_us = best.x[3] * kScale[3]};
}

double StepTimeModel::error_quantile(double share) const {
  const size_t n = std::min<size_t>(num_observed_, kNumRecentErrors);
  if (n == 0) {
    return 0.0;
  }
  std::array<float, kNumRecentErrors> sorted = errors_;
  const auto index = std::min<size_t>(n - 1, static_cast<size_t>(share * static_cast<double>(n)));
  const auto begin = sorted.begin();
  std::nth_element(begin, begin + static_cast<ptrdiff_t>(index), begin + static_cast<ptrdiff_t>(n));
  return sorted[index];
}

}  // namespace stet::sched
