// KernelTable: one function pointer per operation for one instruction set. Chosen once at start (by
// CPUID, or by name), enumerable by tests. Every table gives the bits of kernels/<op>/reference.h,
// which is the definition.
//
// Functions are row-wise or read rows of one sequence only (C9); they allocate nothing and need
// MXCSR 0x9FC0 (C4). A function that returns bool returns true for a fault (C3); it has then
// written zeros for that row.
#pragma once

#include "stet/kernels/types.h"

namespace stet::kernels {

struct KernelTable {
  const char* name =
      nullptr;  // "avx512vnni", "avx512vnni_fma" (no BF16 instructions), "avx2", "scalar"

  // ---- rows
  // y[n] = rmsnorm(x) * w; y may be x.
  bool (*rms_norm)(const float* x, const float* w, uint32_t n, float eps, float* y) = nullptr;
  // Row `row` of `out` from f32 x[out.k]: quantised form if out.q, f32 copy if out.x.
  bool (*quantise)(const float* x, const Outliers& outliers, const LinearInput& out,
                   uint32_t row) = nullptr;
  // rms_norm then quantise, bit-equal to the two calls.
  bool (*rms_norm_quantise)(const float* x, const float* w, float eps, const Outliers& outliers,
                            const LinearInput& out, uint32_t row) = nullptr;
  // act(gate) * up then quantise.
  bool (*gate_quantise)(GateKind kind, const float* gate, const float* up, const Outliers& outliers,
                        const LinearInput& out, uint32_t row) = nullptr;
  void (*add)(const float* x, uint32_t n, float* y) = nullptr;  // y = y + x (the residual)
  // One embedding row, each element the exact weight rounded once, times `scale` (1 = none).
  void (*embed)(const PackedMatrix& w, uint32_t token_id, float scale, float* out) = nullptr;

  // ---- one head
  // rope on x[head_dim] (cos, sin: [rope_dim/2] of this position; dims beyond rope_dim pass
  // through), times scale, to bf16.
  bool (*rope_q)(RopeStyle style, const float* x, const float* cos, const float* sin,
                 uint32_t head_dim, uint32_t rope_dim, float scale, uint16_t* out) = nullptr;
  // rope on k[head_dim], then K and V of one position to their tile. `tile` = K half of the tile,
  // pos = position % 64.
  bool (*rope_store_kv)(RopeStyle style, const float* k, const float* v, const float* cos,
                        const float* sin, uint32_t head_dim, uint32_t rope_dim, std::byte* tile,
                        uint32_t pos) = nullptr;

  // ---- attention (C5)
  void (*attention)(const AttentionArgs& args) = nullptr;
  // The state of one segment for every row of args: states[num_queries * num_heads] of
  // attention_state_stride floats. A row that sees nothing of the segment has m = -inf and is left
  // out of the merge.
  void (*attention_segment)(const AttentionArgs& args, uint32_t segment, float* states) = nullptr;
  // Merges num_segments states per row, ascending, and writes args.out. states:
  // [segment][row][stride]; every row saw something of at least one segment.
  void (*attention_merge)(const AttentionArgs& args, const float* states,
                          uint32_t num_segments) = nullptr;
  // Every member's bits are those of attention() for it alone.
  void (*attention_group)(const GroupAttentionArgs& args) = nullptr;
  // The state of one segment that holds shared positions, for every member, its own tiles of that
  // segment included: the bits of attention_segment() for it alone, to members[i].states.
  void (*attention_group_segment)(const GroupAttentionArgs& args, uint32_t segment) = nullptr;

  // ---- linears (C1), by weight type
  void (*linear[kNumWeightTypes])(const LinearArgs& args) = {};

  // ---- logits (C7)
  LogSumExp (*log_sum_exp)(const float* logits, uint32_t n) = nullptr;
  uint32_t (*sample)(const SampleArgs& args) = nullptr;
};

// lp = (x - M) - log2(S) * LN2, the same bits everywhere.
float logprob(const LogSumExp& lse, float logit);
size_t sample_scratch_bytes(uint32_t vocab);

// Every table of this build, best first; the last one ("scalar") runs on any x86-64-v2.
struct TableList {
  const KernelTable* const* tables;
  size_t num;
};
TableList all_tables();
// Also asks the operating system for the registers that a table needs: call it before the first
// use.
bool cpu_supports(const KernelTable& table);
// Compares the table's bf16 dot instruction with the fma chain of C5, and a few ops with the scalar
// table, on fixed data.
bool self_test(const KernelTable& table);
const KernelTable* find_table(const char* name);  // null if unknown
// The first that the CPU supports and whose self_test passes; of tables that differ in attention
// only, the one that is measured to be faster. The same one for the life of the process.
const KernelTable& best_table();

// C4: sets MXCSR to 0x9FC0 on the calling thread (nearest even, FTZ, DAZ, all masked). Every
// compute thread calls it.
void set_float_environment();
bool float_environment_ok();

}  // namespace stet::kernels
