// kernel_bench [--benchmark_filter=REGEX]: every table this host runs but "scalar", which only
// defines.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstring>

#include "benchmarks/kernels/bench_data.h"
#include "benchmarks/kernels/limits.h"

int main(int argc, char** argv) {
  using namespace stet;
  const kernels::TableList list = kernels::all_tables();
  for (size_t i = 0; i < list.num; ++i) {
    const kernels::KernelTable& table = *list.tables[i];
    if (!kernels::cpu_supports(table) || std::strcmp(table.name, "scalar") == 0) {
      continue;
    }
    std::printf("%s: this core now does %.0f G multiply-adds of bytes per second, %.0f of floats\n",
                table.name, bench::byte_peak(table) * 1e-9, bench::float_peak(table) * 1e-9);
    bench::register_linears(table);
    bench::register_attention(table);
    bench::register_rows(table);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
