#include "stet/obs/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <mutex>
#include <unordered_map>

namespace stet::obs {

void Counter::add(double value) {
  if (impl_ != nullptr) {
    static_cast<prometheus::Counter*>(impl_)->Increment(value);
  }
}

void Gauge::set(double value) {
  if (impl_ != nullptr) {
    static_cast<prometheus::Gauge*>(impl_)->Set(value);
  }
}

void Gauge::add(double value) {
  if (impl_ != nullptr) {
    static_cast<prometheus::Gauge*>(impl_)->Increment(value);
  }
}

void Histogram::observe(double value) {
  if (impl_ != nullptr) {
    static_cast<prometheus::Histogram*>(impl_)->Observe(value);
  }
}

// prometheus-cpp gives back the same series for the same name and labels; a family must be built
// only once.
struct Metrics::Impl {
  mutable std::mutex mutex;
  prometheus::Registry registry{prometheus::Registry::InsertBehavior::Merge};
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Counter Metrics::counter(const std::string& name, const std::string& help, const Labels& labels) {
  std::lock_guard lock(impl_->mutex);
  Counter handle;
  handle.impl_ =
      &prometheus::BuildCounter().Name(name).Help(help).Register(impl_->registry).Add(labels);
  return handle;
}

Gauge Metrics::gauge(const std::string& name, const std::string& help, const Labels& labels) {
  std::lock_guard lock(impl_->mutex);
  Gauge handle;
  handle.impl_ =
      &prometheus::BuildGauge().Name(name).Help(help).Register(impl_->registry).Add(labels);
  return handle;
}

Histogram Metrics::histogram(const std::string& name, const std::string& help,
                             const std::vector<double>& buckets, const Labels& labels) {
  std::lock_guard lock(impl_->mutex);
  Histogram handle;
  handle.impl_ = &prometheus::BuildHistogram()
                      .Name(name)
                      .Help(help)
                      .Register(impl_->registry)
                      .Add(labels, buckets);
  return handle;
}

std::string Metrics::serialise() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace stet::obs
