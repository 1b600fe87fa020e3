// What the score of the forecasts says, in a table and a chart.
#include <cstdio>

#include "src/sim/forecast.h"
#include "src/sim/line_chart.h"
#include "src/sim/quantiles.h"

namespace stet::sim {
namespace {

constexpr size_t kMaxChartPoints = 500;  // more cannot be told apart on 900 pixels

ForecastError error_of(const std::string& estimator, const std::vector<ForecastSample>& samples,
                       uint64_t ForecastSample::*forecast, uint64_t pool_tokens) {
  std::vector<double> errors;  // per cent of the pool
  ForecastError error{.estimator = estimator, .num_batches = samples.size()};
  for (const ForecastSample& s : samples) {
    const auto predicted = static_cast<double>(s.*forecast);
    errors.push_back(100.0 * (predicted - static_cast<double>(s.true_peak)) /
                     static_cast<double>(pool_tokens));
    error.too_low += errors.back() < 0.0 ? 1.0 / static_cast<double>(samples.size()) : 0.0;
  }
  error.mean = mean(errors);
  error.p5 = quantile(errors, 0.05);
  error.p50 = quantile(errors, 0.5);
  error.p95 = quantile(errors, 0.95);
  return error;
}

}  // namespace

std::vector<ForecastError> forecast_errors(const std::vector<ForecastSample>& samples,
                                           uint64_t pool_tokens) {
  return {error_of("moments", samples, &ForecastSample::moments, pool_tokens),
          error_of("sampled", samples, &ForecastSample::sampled, pool_tokens),
          error_of("moments, true lengths", samples, &ForecastSample::moments_true_lengths,
                   pool_tokens)};
}

std::string markdown_table(const std::vector<ForecastError>& errors) {
  std::string text =
      "| forecast peak less true peak, % of the pool | batches | mean | p5 | p50 | p95 | too low, "
      "% of batches |\n|---|---|---|---|---|---|---|\n";
  for (const ForecastError& e : errors) {
    char line[200];
    std::snprintf(line, sizeof line, "| %s | %zu | %.1f | %.1f | %.1f | %.1f | %.1f |\n",
                  e.estimator.c_str(), e.num_batches, e.mean, e.p5, e.p50, e.p95,
                  100.0 * e.too_low);
    text += line;
  }
  return text;
}

std::string forecast_svg(const std::vector<ForecastSample>& samples, uint64_t pool_tokens,
                         const std::string& title) {
  Series used{.name = "in use", .points = {}}, forecast{.name = "forecast peak", .points = {}},
      truth{.name = "true peak of the batch", .points = {}}, pool{.name = "pool", .points = {}};
  const size_t stride = samples.size() / kMaxChartPoints + 1;
  for (size_t i = 0; i < samples.size(); i += stride) {
    const ForecastSample& s = samples[i];
    const double at_s = static_cast<double>(s.at_us) * 1e-6;
    used.points.emplace_back(at_s, static_cast<double>(s.used_tokens) * 1e-3);
    forecast.points.emplace_back(at_s, static_cast<double>(s.moments) * 1e-3);
    truth.points.emplace_back(at_s, static_cast<double>(s.true_peak) * 1e-3);
    pool.points.emplace_back(at_s, static_cast<double>(pool_tokens) * 1e-3);
  }
  return line_chart({.title = title,
                     .x_label = "time, s",
                     .y_label = "thousand tokens of KV",
                     .series = {used, forecast, truth, pool}});
}

}  // namespace stet::sim
