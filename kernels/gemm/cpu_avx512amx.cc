// Linears (C1) on AMX: the integer sums of 16 rows x 16 columns x one group of 32 k are one
// tdpbssd, exact in any order; scaling and adding in float stay as the definition has them, on
// AVX-512.
//
// A panel is unpacked to signed bytes once per 128 rows, two groups at a time (a chunk), and the
// rows go over it. A unit of work is 16 rows x 32 columns x a chunk: four tiles leave their sums in
// a buffer of 32-bit integers, from which the float part takes them. The two parts overlap: while
// one unit is scaled, the tiles of the next one run between its instructions. Tile registers are
// not renamed, so that each is written long after its last use.
//
// Bound: the float part, four operations per 16 sums (three without minimum) on two pipes: 256
// multiply-adds per cycle and core with a minimum, where vpdpbusd with its unpacking allows 70.
// Reached is 80 (vpdpbusd: 62), because tiles and float operations overlap badly; figures and what
// was tried: benchmarks/results/kernels/amx.txt.
#include <immintrin.h>

#include "kernels/dispatch/avx512_ops.h"
#include "kernels/gemm/avx512.h"
#include "kernels/gemm/tiles.h"
#include "kernels/numerics/avx512.h"

namespace stet::kernels::avx512amx {
namespace {

using avx512::finish;
using avx512::group_minimum;
using avx512::group_scale;
using avx512::load512;
using avx512::Pair;

constexpr uint32_t kTileRows = 16;
constexpr uint32_t kHalfRows = 8;   // whose 16 sums of floats stay in registers
constexpr uint32_t kChunk = 2;      // groups
constexpr uint32_t kMaxRows = 128;  // whose sums of floats wait in L1 for the next chunk
constexpr uint32_t kMinRows = 10;   // below, vpdpbusd is faster
constexpr size_t kAheadBytes = 6144;
constexpr uint32_t kForeignLines = 4;  // of LinearArgs::prefetch per group of 8 rows
constexpr size_t kTileRowBytes = 64;

uint32_t least(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

// Tiles 0..3: sums of [group][half of the columns], 4, 5: activations of a group, 6, 7: weights of
// a half.
void configure(uint32_t num_rows) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = tile == 4 || tile == 5 ? kGroup : kTileRowBytes;
    config.rows[tile] = static_cast<uint8_t>(tile >= 6 ? kGroup / 4 : num_rows);
  }
  configure_tiles(config);
}

// A chunk of a panel, unpacked.
struct Chunk {
  alignas(64) int8_t codes[kChunk][2][kGroup / 4][64];  // [group][half][k / 4][column][k % 4]
  alignas(64) float d[kChunk][2][16];
  alignas(64) float m[kChunk][2][16];
  uint32_t groups;
};

// Sums of a unit.
struct Sums {
  alignas(64) int32_t of[kChunk][2][kTileRows][16];
};

// The codes of a half's columns at k = 4z .. 4z + 3, without offset: signed bytes.
template <WeightType kType>
STET_INLINE void unpack_half(const std::byte* group, int h, int8_t (&codes)[kGroup / 4][64]) {
  if constexpr (kType == WeightType::kQ8_0) {
#pragma GCC unroll 8
    for (int z = 0; z < 8; ++z) {
      const __m512i c = load512(group + z * 128 + h * 64);
      _mm512_store_si512(codes[z], _mm512_xor_si512(c, _mm512_set1_epi8(-128)));
    }
    return;
  }
  const __m512i low = _mm512_set1_epi8(15);
  const __m512i offset = _mm512_set1_epi8(code_offset(kType));
  __m512i fifth = _mm512_setzero_si512();
  if constexpr (high_bits(kType) == 1) {
    fifth = load512(group + code_bytes(kType) + h * 64);
  }
  const auto store = [&](int z, __m512i c) {
    if constexpr (high_bits(kType) == 1) {  // bit z of each byte becomes its bit 4
      const __m512i bit = _mm512_and_si512(_mm512_srli_epi32(fifth, z), _mm512_set1_epi8(1));
      c = _mm512_or_si512(c, _mm512_slli_epi32(bit, 4));
    }
    if constexpr (code_offset(kType) != 0) {
      c = _mm512_sub_epi8(c, offset);
    }
    _mm512_store_si512(codes[z], c);
  };
#pragma GCC unroll 4
  for (int z = 0; z < 4; ++z) {
    const __m512i both = load512(group + z * 128 + h * 64);
    store(2 * z, _mm512_and_si512(both, low));
    store(2 * z + 1, _mm512_and_si512(_mm512_srli_epi16(both, 4), low));
  }
}

// Groups [begin, begin + groups) of the panel at `w`.
template <WeightType kType>
void unpack(const std::byte* w, uint32_t begin, uint32_t groups, Chunk* chunk) {
  constexpr uint32_t kPerUnit = groups_per_unit(kType);
  constexpr uint32_t kGroupShare = panel_unit_bytes(kType) / kPerUnit;
  chunk->groups = groups;
  for (uint32_t g = 0; g < groups; ++g) {
    const std::byte* unit = w + size_t{(begin + g) / kPerUnit} * panel_unit_bytes(kType);
    const std::byte* group = unit + (begin + g) % kPerUnit * group_bytes(kType);
    for (uint32_t byte = 0; byte < kGroupShare; byte += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(group) + kAheadBytes + byte, _MM_HINT_T0);
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      unpack_half<kType>(group, h, chunk->codes[g][h]);
      _mm512_store_ps(chunk->d[g][h], group_scale<kType>(unit, group, h));
      if constexpr (has_minimum(kType)) {
        _mm512_store_ps(chunk->m[g][h], group_minimum<kType>(unit, group, h));
      }
    }
  }
  publish_for_tiles();
}

// What the tiles do for one unit.
struct TileJob {
  const Chunk* chunk;
  const int8_t* q;  // of the first row and group
  size_t ldk;
  Sums* sums;
};

template <int kG>
STET_INLINE void dot_group(const TileJob& job) {
  tile_load<4 + kG>(job.q + kG * kGroup, job.ldk);
  tile_load<6>(job.chunk->codes[kG][0], kTileRowBytes);
  tile_zero<2 * kG>();
  tile_dot<2 * kG, 4 + kG, 6>();
  tile_load<7>(job.chunk->codes[kG][1], kTileRowBytes);
  tile_zero<2 * kG + 1>();
  tile_dot<2 * kG + 1, 4 + kG, 7>();
}

template <int kG>
STET_INLINE void store_group(const TileJob& job) {
  tile_store<2 * kG>(job.sums->of[kG][0], kTileRowBytes);
  tile_store<2 * kG + 1>(job.sums->of[kG][1], kTileRowBytes);
}

// A quarter of the job: products of a group, then the sums of a group.
STET_INLINE void run_quarter(const TileJob& job, uint32_t quarter) {
  const bool second = job.chunk->groups > 1;
  switch (quarter) {
    case 0: dot_group<0>(job); break;
    case 1:
      if (second) {
        dot_group<1>(job);
      }
      break;
    case 2: store_group<0>(job); break;
    default:
      if (second) {
        store_group<1>(job);
      }
  }
}

void run_whole(const TileJob& job) {
  for (uint32_t quarter = 0; quarter < 4; ++quarter) {
    run_quarter(job, quarter);
  }
}

// The next lines of the list, as long as there are any.
STET_INLINE void prefetch_lines(Prefetch* list) {
  if (list == nullptr || list->run >= list->num_runs) {
    return;
  }
  const char* from = reinterpret_cast<const char*>(list->runs[list->run]);
  for (uint32_t i = 0; i < kForeignLines; ++i) {
    _mm_prefetch(from + size_t{list->done_lines + i} * 64, _MM_HINT_T1);
  }
  list->done_lines += kForeignLines;
  if (list->done_lines >= list->run_lines) {
    ++list->run;
    list->done_lines = 0;
  }
}

// The float at base + kScale * index, in all lanes. In assembler, because g++ gives every row a
// pointer of its own and has no registers left for them.
template <int kScale>
STET_INLINE __m512 broadcast_at(const float* base, size_t index) {
  __m512 x;
  __asm__("vbroadcastss (%1,%2,%c3), %0" : "=v"(x) : "r"(base), "r"(index), "i"(kScale));
  return x;
}

// Bytes between rows, times what an address cannot multiply with.
struct RowBytes {
  size_t one, three, five, seven;
};

template <int kRow>
STET_INLINE __m512 broadcast_row(const float* base, const RowBytes& b) {
  if constexpr (kRow == 0) {
    return _mm512_set1_ps(*base);
  } else if constexpr (kRow == 1 || kRow == 2 || kRow == 4) {
    return broadcast_at<kRow>(base, b.one);
  } else if constexpr (kRow == 3 || kRow == 6) {
    return broadcast_at<kRow / 3>(base, b.three);
  } else {
    return broadcast_at<1>(base, kRow == 5 ? b.five : b.seven);
  }
}

template <bool kMinimum, int kRow, int kRows>
STET_INLINE void add_row(const int32_t* sums, const float* s, const float* t, const RowBytes& bytes,
                         const __m512 (&d)[2], const __m512 (&m)[2], Pair (&acc)[kRows]) {
  const __m512 scale = broadcast_row<kRow>(s, bytes);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512i sum = _mm512_load_si512(sums + (h * kTileRows + kRow) * 16);
    acc[kRow].v[h] =
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(d[h], scale), acc[kRow].v[h]);
  }
  if constexpr (kMinimum) {
    const __m512 total = broadcast_row<kRow>(t, bytes);
    acc[kRow].v[0] = _mm512_fmadd_ps(total, m[0], acc[kRow].v[0]);
    acc[kRow].v[1] = _mm512_fmadd_ps(total, m[1], acc[kRow].v[1]);
  }
  if constexpr (kRow + 1 < kRows) {
    add_row<kMinimum, kRow + 1, kRows>(sums, s, t, bytes, d, m, acc);
  }
}

// What the float part of at most kHalfRows rows of a unit needs.
struct AddArgs {
  const Chunk* chunk;
  const int32_t* sums;  // of the first row
  const float* s;       // of the first row and group
  const float* t;
  size_t ldg;
  float (*f)[2][16];
  bool first;  // chunk: nothing is in f yet
  // To be run meanwhile: quarters [begin, end) of a job, or null.
  const TileJob* job;
  uint32_t quarter_begin, quarter_end;
  Prefetch* prefetch;
};

// Scales and adds the sums of kRows rows.
template <bool kMinimum, int kRows>
void add_sums(const AddArgs& args) {
  const Chunk& chunk = *args.chunk;
  Pair acc[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    acc[r].v[0] = args.first ? _mm512_setzero_ps() : _mm512_load_ps(args.f[r][0]);
    acc[r].v[1] = args.first ? _mm512_setzero_ps() : _mm512_load_ps(args.f[r][1]);
  }
  RowBytes bytes{args.ldg * 4, args.ldg * 12, args.ldg * 20, args.ldg * 28};
  __asm__("" : "+r"(bytes.one), "+r"(bytes.three), "+r"(bytes.five), "+r"(bytes.seven));
  uint32_t quarter = args.quarter_begin;
  const uint32_t per_group = (args.quarter_end - args.quarter_begin) / 2;
  for (uint32_t g = 0; g < chunk.groups; ++g) {
    for (uint32_t i = 0; i < per_group; ++i) {
      run_quarter(*args.job, quarter++);
    }
    prefetch_lines(args.prefetch);
    const int32_t* sums = args.sums + g * 2 * kTileRows * 16;
    __asm__("" : "+r"(sums));
    const __m512 d[2] = {_mm512_load_ps(chunk.d[g][0]), _mm512_load_ps(chunk.d[g][1])};
    __m512 m[2];
    if constexpr (kMinimum) {
      m[0] = _mm512_load_ps(chunk.m[g][0]);
      m[1] = _mm512_load_ps(chunk.m[g][1]);
    }
    add_row<kMinimum, 0, kRows>(sums, args.s + g, args.t + g, bytes, d, m, acc);
  }
  for (; quarter < args.quarter_end; ++quarter) {
    run_quarter(*args.job, quarter);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    _mm512_store_ps(args.f[r][0], acc[r].v[0]);
    _mm512_store_ps(args.f[r][1], acc[r].v[1]);
  }
}

using AddFn = void (*)(const AddArgs&);
template <bool kMinimum>
constexpr AddFn kAddFns[kHalfRows] = {
    add_sums<kMinimum, 1>, add_sums<kMinimum, 2>, add_sums<kMinimum, 3>, add_sums<kMinimum, 4>,
    add_sums<kMinimum, 5>, add_sums<kMinimum, 6>, add_sums<kMinimum, 7>, add_sums<kMinimum, 8>};

template <int kRows>
void finish_rows(const LinearArgs& args, uint32_t row, uint32_t panel, const float (*f)[2][16]) {
  Pair acc[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    acc[r].v[0] = _mm512_load_ps(f[r][0]);
    acc[r].v[1] = _mm512_load_ps(f[r][1]);
  }
  finish<kRows>(args, row, panel, args.w->num_outliers, acc);
}

using FinishFn = void (*)(const LinearArgs&, uint32_t, uint32_t, const float (*)[2][16]);
constexpr FinishFn kFinishFns[kHalfRows] = {finish_rows<1>, finish_rows<2>, finish_rows<3>,
                                            finish_rows<4>, finish_rows<5>, finish_rows<6>,
                                            finish_rows<7>, finish_rows<8>};

// One panel: the units of rows [begin, end), at most kMaxRows, in blocks of `block_rows` as the
// tiles are configured. Chunk after chunk, in each block after block.
template <WeightType kType>
struct PanelRows {
  // Leaves the buffers as they are: clearing them would cost as much as a tenth of the work.
  PanelRows(const LinearArgs& linear, uint32_t panel_index, uint32_t begin_row, uint32_t end_row,
            uint32_t rows_per_block)
      : args(linear),
        panel(panel_index),
        begin(begin_row),
        end(end_row),
        block_rows(rows_per_block),
        w(linear.w->panels + panel_index * panel_bytes(kType, linear.w->k)) {}

  const LinearArgs& args;
  const uint32_t panel, begin, end, block_rows;
  const std::byte* const w;
  Chunk chunks[2];
  Sums sums[2];
  alignas(64) float f[kMaxRows][2][16];

  uint32_t num_groups() const { return args.w->k / kGroup; }

  void unpack_chunk(uint32_t c) {
    unpack<kType>(w, c * kChunk, least(kChunk, num_groups() - c * kChunk), &chunks[c % 2]);
  }

  TileJob job(uint32_t c, uint32_t row, uint32_t unit) {
    const LinearInput& in = args.in;
    return {&chunks[c % 2], in.q + row * in.ldk + size_t{c} * kChunk * kGroup, in.ldk,
            &sums[unit % 2]};
  }

  // Scales the sums of one unit while the tiles do `next`, if there is one.
  void add(uint32_t c, uint32_t row, uint32_t unit, const TileJob* next) {
    const LinearInput& in = args.in;
    const uint32_t num_halves = block_rows > kHalfRows ? 2 : 1;
    const uint32_t quarters = next == nullptr ? 0 : 4 / num_halves;
    for (uint32_t half = 0; half < num_halves; ++half) {
      const uint32_t first = half * kHalfRows;
      const size_t at = (row + first) * in.ldg + c * kChunk;
      kAddFns<has_minimum(kType)>[least(kHalfRows, block_rows - first) - 1](
          {.chunk = &chunks[c % 2],
           .sums = sums[unit % 2].of[0][0][first],
           .s = in.s + at,
           .t = in.t + at,
           .ldg = in.ldg,
           .f = &f[row - begin + first],
           .first = c == 0,
           .job = next,
           .quarter_begin = half * quarters,
           .quarter_end = (half + 1) * quarters,
           .prefetch = args.prefetch});
    }
  }

  void run() {
    const uint32_t num_chunks = (num_groups() + kChunk - 1) / kChunk;
    unpack_chunk(0);
    run_whole(job(0, begin, 0));
    uint32_t unit = 0;
    for (uint32_t c = 0; c < num_chunks; ++c) {
      for (uint32_t row = begin; row < end; row += block_rows, ++unit) {
        if (row + block_rows < end) {
          const TileJob next = job(c, row + block_rows, unit + 1);
          add(c, row, unit, &next);
        } else if (c + 1 < num_chunks) {
          unpack_chunk(c + 1);
          const TileJob next = job(c + 1, begin, unit + 1);
          add(c, row, unit, &next);
        } else {
          add(c, row, unit, nullptr);
        }
      }
    }
    for (uint32_t row = begin; row < end; row += kHalfRows) {
      kFinishFns[least(kHalfRows, end - row) - 1](args, row, panel, &f[row - begin]);
    }
  }
};

// Rows [begin, end) of all panels.
template <WeightType kType>
void rows_by_tiles(const LinearArgs& args, uint32_t begin, uint32_t end, uint32_t block_rows) {
  configure(block_rows);
  for (uint32_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
    for (uint32_t row = begin; row < end; row += kMaxRows) {
      PanelRows<kType>(args, panel, row, least(end, row + kMaxRows), block_rows).run();
    }
  }
  release_tiles();
}

LinearArgs from_row(LinearArgs args, uint32_t row) {
  args.num_rows -= row;
  args.in.q += row * args.in.ldk;
  args.in.s += row * args.in.ldg;
  args.in.t += row * args.in.ldg;
  args.in.a += row * args.in.ldg;
  args.in.xo += row * kMaxOutliers;
  args.out += row * args.ldo;
  return args;
}

// Blocks of 16 rows, then those that are left: by tiles of their number, or, when they are very
// few, by vpdpbusd.
template <WeightType kType>
void linear(const LinearArgs& args, void (*few_rows)(const LinearArgs&)) {
  const uint32_t full = args.num_rows / kTileRows * kTileRows;
  if (full > 0) {
    rows_by_tiles<kType>(args, 0, full, kTileRows);
  }
  const uint32_t left = args.num_rows - full;
  if (left >= kMinRows) {
    rows_by_tiles<kType>(args, full, args.num_rows, left);
  } else if (left > 0) {
    few_rows(from_row(args, full));
  }
}

}  // namespace

void linear_q4_0(const LinearArgs& args) {
  linear<WeightType::kQ4_0>(args, avx512::linear_q4_0);
}
void linear_q4_1(const LinearArgs& args) {
  linear<WeightType::kQ4_1>(args, avx512::linear_q4_1);
}
void linear_q8_0(const LinearArgs& args) {
  linear<WeightType::kQ8_0>(args, avx512::linear_q8_0);
}
void linear_q5_0(const LinearArgs& args) {
  linear<WeightType::kQ5_0>(args, avx512::linear_q5_0);
}
void linear_q5_1(const LinearArgs& args) {
  linear<WeightType::kQ5_1>(args, avx512::linear_q5_1);
}
void linear_q4_k(const LinearArgs& args) {
  linear<WeightType::kQ4_K>(args, avx512::linear_q4_k);
}
void linear_q5_k(const LinearArgs& args) {
  linear<WeightType::kQ5_K>(args, avx512::linear_q5_k);
}

}  // namespace stet::kernels::avx512amx
