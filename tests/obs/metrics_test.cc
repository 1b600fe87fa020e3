#include "stet/obs/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <sstream>
#include <thread>

#include "tests/obs/lines.h"

namespace stet::obs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Metrics, ARegistryWithoutSeriesSerialisesToNothing) {
  EXPECT_EQ(Metrics().serialise(), "");
}

TEST(Metrics, ACounterHasHelpTypeLabelsAndValue) {
  Metrics metrics;
  Counter counter = metrics.counter("stet_x_total", "What x is.", {{"b", "2"}, {"a", "1"}});
  EXPECT_THAT(lines_of(metrics.serialise()),
              ElementsAre("# HELP stet_x_total What x is.", "# TYPE stet_x_total counter",
                          "stet_x_total{a=\"1\",b=\"2\"} 0"));
  counter.add();
  counter.add(2.5);
  EXPECT_THAT(metrics.serialise(), HasSubstr("stet_x_total{a=\"1\",b=\"2\"} 3.5\n"));
}

TEST(Metrics, ACounterNeverGoesDown) {
  Metrics metrics;
  Counter counter = metrics.counter("c_total", "h");
  counter.add(5);
  counter.add(-3);
  EXPECT_THAT(metrics.serialise(), HasSubstr("c_total 5\n"));
}

TEST(Metrics, AGaugeIsSetAndMovedBothWays) {
  Metrics metrics;
  Gauge gauge = metrics.gauge("g", "h");
  gauge.set(7);
  gauge.add(-9.5);
  EXPECT_THAT(lines_of(metrics.serialise()), ElementsAre("# HELP g h", "# TYPE g gauge", "g -2.5"));
  gauge.set(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(metrics.serialise(), HasSubstr("g Nan\n"));
}

TEST(Metrics, AHistogramCountsEachBucketWithAllBelowItAndAddsInfinity) {
  Metrics metrics;
  Histogram histogram = metrics.histogram("h_seconds", "h", {0.5, 1, 5}, {{"engine", "0"}});
  for (const double value : {0.25, 0.5, 0.75, 5.0, 100.0}) {
    histogram.observe(value);
  }
  EXPECT_THAT(lines_of(metrics.serialise()),
              ElementsAre("# HELP h_seconds h", "# TYPE h_seconds histogram",
                          "h_seconds_count{engine=\"0\"} 5", "h_seconds_sum{engine=\"0\"} 106.5",
                          "h_seconds_bucket{engine=\"0\",le=\"0.5\"} 2",  // a bound is inside
                          "h_seconds_bucket{engine=\"0\",le=\"1\"} 3",
                          "h_seconds_bucket{engine=\"0\",le=\"5\"} 4",
                          "h_seconds_bucket{engine=\"0\",le=\"+Inf\"} 5"));
}

TEST(Metrics, OneFamilyHoldsItsSeriesUnderOneHead) {
  Metrics metrics;
  metrics.counter("stet_errors_total", "Errors.", {{"reason", "a"}}).add(1);
  metrics.gauge("between", "h").set(1);
  metrics.counter("stet_errors_total", "Errors.", {{"reason", "b"}}).add(2);
  const std::string text = metrics.serialise();
  EXPECT_EQ(text.find("# TYPE stet_errors_total"), text.rfind("# TYPE stet_errors_total"));
  EXPECT_THAT(text, HasSubstr("stet_errors_total{reason=\"a\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("stet_errors_total{reason=\"b\"} 2\n"));
}

TEST(Metrics, TheSameNameAndLabelsAreTheSameSeries) {
  Metrics metrics;
  metrics.counter("c_total", "h", {{"l", "v"}}).add(1);
  metrics.counter("c_total", "h", {{"l", "v"}}).add(1);
  metrics.histogram("h", "h", {1}).observe(0);
  metrics.histogram("h", "h", {1}).observe(0);
  const std::string text = metrics.serialise();
  EXPECT_THAT(text, HasSubstr("c_total{l=\"v\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("h_count 2\n"));
}

TEST(Metrics, LabelValuesAreEscaped) {
  Metrics metrics;
  metrics.gauge("g", "h", {{"v", "a\"b\\c\nd"}}).set(1);
  EXPECT_THAT(lines_of(metrics.serialise()),
              ElementsAre("# HELP g h", "# TYPE g gauge", "g{v=\"a\\\"b\\\\c\\nd\"} 1"));
}

TEST(Metrics, AHandleWithoutARegistryDoesNothing) {
  Counter().add();
  Gauge().set(1);
  Gauge().add(1);
  Histogram().observe(1);
}

TEST(Metrics, ThreadsAddWhileAnotherReads) {
  Metrics metrics;
  Counter counter = metrics.counter("c_total", "h");
  Histogram histogram = metrics.histogram("h", "h", {1, 2});
  const auto work = [&] {
    for (int i = 0; i < 5'000; ++i) {
      counter.add();
      histogram.observe(1.5);
    }
  };
  std::thread a(work), b(work);
  for (int i = 0; i < 50; ++i) {
    EXPECT_THAT(metrics.serialise(), HasSubstr("c_total "));
  }
  a.join();
  b.join();
  EXPECT_THAT(metrics.serialise(), HasSubstr("c_total 10000\n"));
  EXPECT_THAT(metrics.serialise(), HasSubstr("h_bucket{le=\"2\"} 10000\n"));
}

}  // namespace
}  // namespace stet::obs
