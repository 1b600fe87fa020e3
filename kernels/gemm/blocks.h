// How a linear walks its panels, for every instruction set: blocks of rows inside panels, so that
// weights are read from memory once per call whatever the number of rows, with the next panel and
// foreign bytes prefetched meanwhile. An instruction set gives one function per number of rows.
#pragma once

#include <xmmintrin.h>

#include "kernels/gemm/layout.h"
#include "kernels/numerics/inline.h"

namespace stet::kernels {
namespace {

// Ahead in the same stream when one block of rows covers all of them: flat from 6 to 12 KiB, 1-2
// too short, 16 worse.
constexpr size_t kAheadBytes = 6144;
// Foreign lines (KV of the next layer) per step, into L2. Spread thin: 4 and 6 slow the linears
// down by as much as the attention gains.
constexpr uint32_t kForeignLines = 2;

// What one block of rows x one panel needs.
struct Block {
  const std::byte* w;
  const int8_t* q;
  const float* x;
  const float* s;
  const float* t;
  const int32_t* a;
  size_t ldk;
  size_t ldg;
  uint32_t units;  // of layout.h: blocks of the file, or single k for float weights
  const std::byte* ahead;
  uint32_t ahead_lines;  // prefetched per unit
  const std::byte* foreign;
  uint32_t foreign_steps;  // groups, or k of float weights
};

// args, block, first row, panel.
using BlockFn = void (*)(const LinearArgs&, const Block&, uint32_t, uint32_t);

// Part `part` of kParts of what is prefetched during one unit: bursts do not work.
template <uint32_t kParts>
STET_INLINE void prefetch_part(const Block& b, uint32_t unit, uint32_t part) {
  const std::byte* p = b.ahead + size_t{unit} * b.ahead_lines * 64;
  const uint32_t end = (part + 1) * b.ahead_lines / kParts;
  for (uint32_t l = part * b.ahead_lines / kParts; l < end; ++l) {
    _mm_prefetch(reinterpret_cast<const char*>(p) + l * 64, _MM_HINT_T0);
  }
  const uint32_t step = unit * kParts + part;
  if (step < b.foreign_steps) {
    const char* f = reinterpret_cast<const char*>(b.foreign) + size_t{step} * kForeignLines * 64;
    for (uint32_t l = 0; l < kForeignLines; ++l) {
      _mm_prefetch(f + l * 64, _MM_HINT_T1);
    }
  }
}

STET_INLINE void prefetch_unit(const Block& b, uint32_t unit) {
  prefetch_part<1>(b, unit, 0);
}

// Gives the next lines of the list to a block of `num_steps` steps.
inline void take_foreign(Prefetch* list, uint32_t num_steps, Block* b) {
  if (list == nullptr || list->run >= list->num_runs) {
    return;
  }
  const uint32_t left = list->run_lines - list->done_lines;
  const uint32_t steps = (left + kForeignLines - 1) / kForeignLines;
  b->foreign = list->runs[list->run] + size_t{list->done_lines} * 64;
  b->foreign_steps = steps < num_steps ? steps : num_steps;
  list->done_lines += b->foreign_steps * kForeignLines;
  if (list->done_lines >= list->run_lines) {
    ++list->run;
    list->done_lines = 0;
  }
}

template <WeightType kType>
Block rows_of(const LinearArgs& args, uint32_t row, const std::byte* w) {
  const LinearInput& in = args.in;
  Block b{};
  b.w = w;
  b.units = args.w->k / block_elements(kType);
  b.ldk = in.ldk;
  b.ldg = in.ldg;
  if constexpr (is_quantised(kType)) {
    b.q = in.q + size_t{row} * in.ldk;
    b.s = in.s + size_t{row} * in.ldg;
    b.t = in.t + size_t{row} * in.ldg;
    b.a = in.a + size_t{row} * in.ldg;
  } else {
    b.x = in.x + size_t{row} * in.ldk;
  }
  return b;
}

// fns[n - 1] computes n rows, 1 <= n <= kMaxRows.
template <WeightType kType, uint32_t kMaxRows>
STET_INLINE void linear_blocks(const LinearArgs& args, const BlockFn (&fns)[kMaxRows]) {
  const uint32_t blocks = (args.num_rows + kMaxRows - 1) / kMaxRows;
  const size_t bytes = panel_bytes(kType, args.w->k);
  constexpr uint32_t kLines = panel_unit_bytes(kType) / 64;
  for (uint32_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
    const std::byte* w = args.w->panels + panel * bytes;
    const uint32_t share = blocks == 0 ? 0 : (kLines + blocks - 1) / blocks;
    for (uint32_t i = 0; i < blocks; ++i) {
      // Dealt evenly: 16 rows are 6+5+5, not 6+6+4.
      const uint32_t row = static_cast<uint32_t>(uint64_t{args.num_rows} * i / blocks);
      const uint32_t end = static_cast<uint32_t>(uint64_t{args.num_rows} * (i + 1) / blocks);
      Block b = rows_of<kType>(args, row, w);
      if (blocks == 1) {
        b.ahead = w + kAheadBytes;
        b.ahead_lines = kLines;
      } else {
        b.ahead = w + bytes + size_t{i} * share * b.units * 64;
        b.ahead_lines = panel + 1 < args.panel_end && share * i < kLines ? share : 0;
      }
      take_foreign(args.prefetch, b.units * groups_per_unit(kType), &b);
      fns[end - row - 1](args, b, row, panel);
    }
  }
}

}  // namespace
}  // namespace stet::kernels
