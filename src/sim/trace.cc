#include "src/sim/trace.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "src/sim/hash_random.h"

namespace stet::sim {

uint32_t Trace::longest_output() const {
  uint32_t longest = 0;
  for (const TraceRequest& r : requests) {
    longest = std::max(longest, r.output_tokens);
  }
  return longest;
}

double Trace::requests_per_s() const {
  if (requests.empty() || requests.back().arrival_us == 0) {
    return 0.0;
  }
  return static_cast<double>(requests.size()) * 1e6 /
         static_cast<double>(requests.back().arrival_us);
}

// ---- shaping

namespace {

uint64_t largest_prefix_id(const Trace& trace) {
  uint64_t largest = 0;
  for (const TraceRequest& r : trace.requests) {
    for (const uint64_t id : r.prefix_ids) {
      largest = std::max(largest, id);
    }
  }
  return largest;
}

// Pass 0 is the trace itself.
void append_pass(const Trace& trace, uint64_t pass, uint64_t seed, size_t num_requests,
                 std::vector<TraceRequest>* out) {
  const std::vector<TraceRequest>& rows = trace.requests;
  const uint64_t span_us = rows.back().arrival_us + rows.back().arrival_us / rows.size();
  const uint64_t id_offset = pass * (largest_prefix_id(trace) + 1);
  HashRandom random(mix64(seed) + pass);
  for (size_t i = 0; i < rows.size() && out->size() < num_requests; ++i) {
    TraceRequest& added =
        out->emplace_back(pass == 0 ? rows[i] : rows[random.next() % rows.size()]);
    added.arrival_us = pass * span_us + rows[i].arrival_us;
    for (uint64_t& id : added.prefix_ids) {
      id += id_offset;
    }
  }
}

}  // namespace

Trace shape_trace(const Trace& trace, const TraceShape& shape) {
  Trace shaped{.name = trace.name, .requests = {}};
  const size_t num_requests = shape.num_requests == 0 ? trace.requests.size() : shape.num_requests;
  for (uint64_t pass = 0; !trace.requests.empty() && shaped.requests.size() < num_requests;
       ++pass) {
    append_pass(trace, pass, shape.seed, num_requests, &shaped.requests);
  }
  const double recorded = shaped.requests_per_s();
  const double stretch = shape.batch                            ? 0.0
                         : shape.rate == 0.0 || recorded == 0.0 ? 1.0
                                                                : recorded / shape.rate;
  for (TraceRequest& r : shaped.requests) {
    r.arrival_us = static_cast<uint64_t>(std::llround(static_cast<double>(r.arrival_us) * stretch));
  }
  return shaped;
}

// ---- generator

Trace long_output_trace(uint32_t num_requests, double rate, uint64_t seed) {
  Trace trace{.name = "long-output", .requests = {}};
  HashRandom random(seed);
  double at_s = 0.0;
  for (uint32_t i = 0; i < num_requests; ++i) {
    at_s += random.exponential(1.0 / rate);
    const double prompt = std::clamp(random.lognormal(5.6, 0.8), 20.0, 4000.0);
    const double output = std::clamp(random.lognormal(7.2, 0.8), 20.0, 8192.0);
    trace.requests.push_back({.arrival_us = static_cast<uint64_t>(std::llround(at_s * 1e6)),
                              .prompt_tokens = static_cast<uint32_t>(prompt),
                              .output_tokens = static_cast<uint32_t>(output)});
  }
  return trace;
}

// ---- CSV

namespace {

void append_ids(const std::vector<uint64_t>& ids, std::string* csv) {
  for (size_t i = 0; i < ids.size();) {
    size_t end = i + 1;
    while (end < ids.size() && ids[end] == ids[end - 1] + 1) {
      ++end;
    }
    *csv += (i == 0 ? "" : " ") + std::to_string(ids[i]);
    *csv += end - i > 1 ? "-" + std::to_string(ids[end - 1]) : "";
    i = end;
  }
}

}  // namespace

std::string to_csv(const Trace& trace) {
  const bool ids = trace.has_prefix_ids();
  std::string csv = "arrival_s,prompt_tokens,output_tokens";
  csv += ids ? ",prefix_hash_ids\n" : "\n";
  for (const TraceRequest& r : trace.requests) {
    char line[80];
    std::snprintf(line, sizeof line, "%llu.%06llu,%u,%u",
                  static_cast<unsigned long long>(r.arrival_us / 1'000'000),
                  static_cast<unsigned long long>(r.arrival_us % 1'000'000), r.prompt_tokens,
                  r.output_tokens);
    csv += line;
    if (ids) {
      csv += ',';
      append_ids(r.prefix_ids, &csv);
    }
    csv += '\n';
  }
  return csv;
}

}  // namespace stet::sim
