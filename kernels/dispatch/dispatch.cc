// Choice of a table: the first of all_tables() that the CPU supports and whose self-test passes; of
// the two that differ in attention only, the faster one.
#include <cstring>

#include "kernels/dispatch/cpu_features.h"
#include "kernels/dispatch/tables.h"
#include "kernels/numerics/exp2.h"
#include "kernels/numerics/log2.h"
#include "kernels/sample/sampler.h"

namespace stet::kernels {
namespace {

constexpr const KernelTable* kTables[] = {&kAvx512AmxTable, &kAvx512Bf16Table, &kAvx512FmaTable,
                                          &kAvx2Table, &kScalarTable};

bool runs_here(const KernelTable& table) {
  return cpu_supports(table) && self_test(table);
}

const KernelTable& choose() {
  for (const KernelTable* table : kTables) {
    if (runs_here(*table)) {
      return table == &kAvx512Bf16Table && runs_here(kAvx512FmaTable)
                 ? faster_attention(*table, kAvx512FmaTable)
                 : *table;
    }
  }
  return kScalarTable;
}

}  // namespace

TableList all_tables() {
  return {kTables, sizeof kTables / sizeof kTables[0]};
}

bool cpu_supports(const KernelTable& table) {
  static const CpuFeatures cpu = detect_cpu();
  if (std::strcmp(table.name, kAvx512AmxTable.name) == 0) {
    return cpu.amx_int8;
  }
  if (std::strcmp(table.name, kAvx512Bf16Table.name) == 0) {
    return cpu.avx512_vnni && cpu.avx512_bf16;
  }
  if (std::strcmp(table.name, kAvx512FmaTable.name) == 0) {
    return cpu.avx512_vnni;
  }
  if (std::strcmp(table.name, kAvx2Table.name) == 0) {
    return cpu.avx2_fma;
  }
  return std::strcmp(table.name, kScalarTable.name) == 0;
}

const KernelTable* find_table(const char* name) {
  for (const KernelTable* table : kTables) {
    if (std::strcmp(table->name, name) == 0) {
      return table;
    }
  }
  return nullptr;
}

const KernelTable& best_table() {
  static const KernelTable& best = choose();
  return best;
}

float logprob(const LogSumExp& lse, float logit) {
  return (logit + 0.0f - lse.max) - lse.log2_sum * kLn2;
}

size_t sample_scratch_bytes(uint32_t vocab) {
  return scratch_layout(vocab, nullptr, nullptr);
}

}  // namespace stet::kernels
