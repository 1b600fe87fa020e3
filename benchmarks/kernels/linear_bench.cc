// Linears of SmolLM2-135M, and 2,048 x 2,048 of types that it does not have. peak_pct: share of the
// multiply-adds that this core reaches with the table's instruction. C1 allows 72.7 % (Q4_1) and 80
// % (Q8_0) of vpdpbusd, 67 % (Q4_1) and 44 % (Q8_0) of vpmaddubsw. read_pct: bytes of weights per
// second against merely reading them. model/...: all 121 matrices of a step in order.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>

#include "benchmarks/kernels/bench_data.h"
#include "benchmarks/kernels/limits.h"

namespace stet::bench {
namespace {

using kernels::KernelTable;
using kernels::PackedMatrix;
using kernels::WeightType;

struct Matrix {
  const char* name;
  WeightType type;
  uint32_t k, n;
};

constexpr Matrix kShapes[] = {
    {"o", WeightType::kQ4_1, 576, 576},        {"qkv", WeightType::kQ4_1, 576, 960},
    {"gate_up", WeightType::kQ4_1, 576, 3072}, {"down", WeightType::kQ4_1, 1536, 576},
    {"o_q4_0", WeightType::kQ4_0, 576, 576},   {"head", WeightType::kQ8_0, 576, 49152},
    {"q5_0", WeightType::kQ5_0, 2048, 2048},   {"q4_k", WeightType::kQ4_K, 2048, 2048},
    {"q5_k", WeightType::kQ5_K, 2048, 2048},   {"q6_k", WeightType::kQ6_K, 2048, 2048},
    {"q5_1", WeightType::kQ5_1, 2048, 2048},   {"q2_k", WeightType::kQ2_K, 2048, 2048},
    {"q3_k", WeightType::kQ3_K, 2048, 2048},   {"iq4_nl", WeightType::kIQ4_NL, 2048, 2048}};
constexpr uint32_t kRows[] = {1, 2, 4, 6, 8, 16, 64};

void run_linear(benchmark::State& state, const KernelTable& table, const Matrix& m, uint32_t rows) {
  kernels::set_float_environment();
  Rng rng;
  const size_t bytes = kernels::packed_bytes(m.type, m.n, m.k);
  Pages<std::byte> panels(bytes);
  fill_panels(rng, m.type, bytes, panels.data());
  const PackedMatrix w{m.type, m.n, m.k, panels.data(), 0, nullptr, nullptr};
  QuantisedRows in(table, rows, m.k);
  Pages<float> out(size_t{rows} * m.n);
  const kernels::LinearArgs args{&w, in.view(), rows, 0, w.num_panels(), out.data(), m.n};
  double peak = byte_peak(table);
  const double read = read_rate(panels.data(), bytes);
  const double start = now();
  for (auto _ : state) {
    table.linear[static_cast<int>(m.type)](args);
  }
  const double seconds = (now() - start) / static_cast<double>(state.iterations());
  peak = std::max(peak, byte_peak(table));
  const double macs = double{1} * rows * m.n * m.k;
  state.counters["gmac_s"] = macs / seconds * 1e-9;
  state.counters["peak_pct"] = 100 * macs / seconds / peak;
  state.counters["read_pct"] = 100 * static_cast<double>(bytes) / seconds / read;
}

// 30 layers and the head, weights far beyond L2; the plain read alternates with the step in one
// process.
void run_model(benchmark::State& state, const KernelTable& table, uint32_t rows) {
  kernels::set_float_environment();
  Rng rng;
  std::vector<Matrix> all;
  for (int layer = 0; layer < 30; ++layer) {
    all.insert(all.end(), {kShapes[1], kShapes[0], kShapes[2], kShapes[3]});
  }
  all.push_back(kShapes[5]);
  size_t total = 0;
  for (const Matrix& m : all) {
    total += kernels::packed_bytes(m.type, m.n, m.k);
  }
  Pages<std::byte> panels(total);
  QuantisedRows narrow(table, rows, 576);
  QuantisedRows wide(table, rows, 1536);
  Pages<float> out(size_t{rows} * 49152);
  std::vector<PackedMatrix> weights;
  size_t at = 0;
  for (const Matrix& m : all) {
    const size_t bytes = kernels::packed_bytes(m.type, m.n, m.k);
    fill_panels(rng, m.type, bytes, panels.data() + at);
    weights.push_back({m.type, m.n, m.k, panels.data() + at, 0, nullptr, nullptr});
    at += bytes;
  }
  std::vector<double> shares;
  for (auto _ : state) {
    const double start = now();
    for (const PackedMatrix& w : weights) {
      const kernels::LinearArgs args{
          &w, w.k == 576 ? narrow.view() : wide.view(), rows, 0, w.num_panels(), out.data(), w.n};
      table.linear[static_cast<int>(w.type)](args);
    }
    const double seconds = now() - start;
    state.PauseTiming();
    shares.push_back(100 * static_cast<double>(total) / seconds / read_rate(panels.data(), total));
    state.ResumeTiming();
  }
  std::sort(shares.begin(), shares.end());
  state.counters["read_pct_median"] = shares[shares.size() / 2];
}

}  // namespace

void register_linears(const KernelTable& table) {
  for (const Matrix& m : kShapes) {
    for (const uint32_t rows : kRows) {
      const std::string name = std::string("gemm_") + m.name + "/m=" + std::to_string(rows) +
                               ",k=" + std::to_string(m.k) + ",n=" + std::to_string(m.n) + "/" +
                               table.name;
      benchmark::RegisterBenchmark(name.c_str(), [&table, m, rows](benchmark::State& state) {
        run_linear(state, table, m, rows);
      });
    }
  }
  for (const uint32_t rows : {1u, 2u, 4u, 6u}) {
    const std::string name = "gemm_model/m=" + std::to_string(rows) + "/" + table.name;
    benchmark::RegisterBenchmark(name.c_str(), [&table, rows](benchmark::State& state) {
      run_model(state, table, rows);
    })->Iterations(15);
  }
}

}  // namespace stet::bench
