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
    bench::register_linears(table);
    bench::register_attention(table);
    bench::register_rows(table);
  }
  std::printf("this core now: vpdpbusd %.2f G/s, vdpbf16ps %.2f G/s (512 bits)\n",
              bench::vpdpbusd_peak() * 1e-9, bench::vdpbf16ps_peak() * 1e-9);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
