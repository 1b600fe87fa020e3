// Row operations (ns_per_element) and the sampler over 49,152 logits.
#include <benchmark/benchmark.h>

#include "benchmarks/kernels/bench_data.h"
#include "benchmarks/kernels/limits.h"

namespace stet::bench {
namespace {

using kernels::KernelTable;

struct Row {
  explicit Row(uint32_t n, float scale = 1.0f) : x(n) {
    Rng rng;
    for (uint32_t i = 0; i < n; ++i) {
      // Sum of four uniforms: near normal, unit variance times scale.
      x.data()[i] = (rng.uniform() + rng.uniform() + rng.uniform() + rng.uniform()) * 1.73f * scale;
    }
  }
  Pages<float> x;
};

template <class F>
void measure(benchmark::State& state, uint32_t elements, F f) {
  kernels::set_float_environment();
  const double start = now();
  for (auto _ : state) {
    f();
  }
  state.counters["ns_per_element"] =
      (now() - start) / static_cast<double>(state.iterations()) / elements * 1e9;
}

template <class F>
void add(const char* op, const KernelTable& table, F f) {
  benchmark::RegisterBenchmark((std::string(op) + "/" + table.name).c_str(), f);
}

void register_row_ops(const KernelTable& table) {
  add("rms_norm_quantise/k=576", table, [&table](benchmark::State& state) {
    Row x(576), w(576);
    QuantisedRows out(table, 1, 576);
    measure(state, 576,
            [&] { table.rms_norm_quantise(x.x.data(), w.x.data(), 1e-5f, {}, out.view(), 0); });
  });
  add("quantise/k=576", table, [&table](benchmark::State& state) {
    Row x(576);
    QuantisedRows out(table, 1, 576);
    measure(state, 576, [&] { table.quantise(x.x.data(), {}, out.view(), 0); });
  });
  add("silu_quantise/k=1536", table, [&table](benchmark::State& state) {
    Row g(1536), u(1536);
    QuantisedRows out(table, 1, 1536);
    measure(state, 1536, [&] {
      table.gate_quantise(kernels::GateKind::kSilu, g.x.data(), u.x.data(), {}, out.view(), 0);
    });
  });
  add("rope_q/dim=64", table, [&table](benchmark::State& state) {
    Row x(64), c(32), s(32);
    Pages<uint16_t> q(64);
    measure(state, 64, [&] {
      table.rope_q(kernels::RopeStyle::kAdjacent, x.x.data(), c.x.data(), s.x.data(), 64, 64, 0.18f,
                   q.data());
    });
  });
  add("rope_store_kv/dim=64", table, [&table](benchmark::State& state) {
    Row k(64), v(64), c(32), s(32);
    Pages<std::byte> tile(16384);
    uint32_t pos = 0;
    measure(state, 64, [&] {
      table.rope_store_kv(kernels::RopeStyle::kAdjacent, k.x.data(), v.x.data(), c.x.data(),
                          s.x.data(), 64, 64, tile.data(), pos++ % 64);
    });
  });
}

void register_sampler(const KernelTable& table) {
  constexpr uint32_t kVocab = 49152;
  add("log_sum_exp/vocab=49152", table, [&table](benchmark::State& state) {
    Row x(kVocab, 3.0f);
    measure(state, kVocab,
            [&] { benchmark::DoNotOptimize(table.log_sum_exp(x.x.data(), kVocab)); });
  });
  struct Setting {
    const char* name;
    bool peaked;  // 20 ids stand out, as in most rows of a language model; else the nucleus is
                  // 2,000 ids
    float temperature;
    uint32_t top_k;
    float top_p;
  };
  for (const Setting s : {Setting{"sample_greedy/vocab=49152", true, 0.0f, 0, 1.0f},
                          Setting{"sample_all/vocab=49152", true, 1.0f, 0, 1.0f},
                          Setting{"sample_top_p=0.9/vocab=49152", true, 1.0f, 0, 0.9f},
                          Setting{"sample_top_p=0.9,flat/vocab=49152", false, 1.0f, 0, 0.9f},
                          Setting{"sample_top_k=50,top_p=0.9/vocab=49152", true, 0.8f, 50, 0.9f}}) {
    add(s.name, table, [&table, s](benchmark::State& state) {
      Row x(kVocab, s.peaked ? 2.0f : 3.0f);
      for (uint32_t i = 0; i < 20 && s.peaked; ++i) {
        x.x.data()[i * 2311 + 17] = 16.0f - 0.4f * static_cast<float>(i);
      }
      Pages<std::byte> scratch(kernels::sample_scratch_bytes(kVocab));
      kernels::SampleArgs args{x.x.data(), kVocab, s.temperature, s.top_k, s.top_p, 0.0f, 7};
      args.scratch = scratch.data();
      measure(state, kVocab, [&] {
        ++args.output_pos;
        benchmark::DoNotOptimize(table.sample(args));
      });
    });
  }
}

}  // namespace

void register_rows(const KernelTable& table) {
  register_row_ops(table);
  register_sampler(table);
}

}  // namespace stet::bench
