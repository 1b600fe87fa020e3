// Plain types shared by every kernel: what a linear, a cache tile and a quantised row look like in
// memory. This header and all under kernels/ include only <cstdint>, <cstddef> and each other.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stet::kernels {

enum class WeightType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ8_0,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kQ2_K,
  kQ3_K,
  kIQ4_NL
};
inline constexpr int kNumWeightTypes = 14;
inline constexpr bool is_quantised(WeightType t) {
  return t >= WeightType::kQ4_0;
}

inline constexpr uint32_t kGroup = 32;        // quantisation group along K (C1, C3)
inline constexpr uint32_t kSuperBlock = 256;  // of the K types: groups with scales of their own
// Weights that share their floating-point scale; rows hold whole blocks.
inline constexpr uint32_t block_elements(WeightType t) {
  return !is_quantised(t)                                   ? 1
         : t >= WeightType::kQ4_K && t <= WeightType::kQ3_K ? kSuperBlock
                                                            : kGroup;
}
inline constexpr uint32_t kPanel = 32;       // output columns per packed panel
inline constexpr uint32_t kTile = 64;        // positions per attention tile (C5)
inline constexpr uint32_t kSegment = 512;    // positions per attention segment (C5)
inline constexpr uint32_t kMaxOutliers = 8;  // outlier channels per linear input (C3)
inline constexpr uint32_t kMaxHeadDim = 256;

inline constexpr uint32_t round_up(uint32_t n, uint32_t to) {
  return (n + to - 1) / to * to;
}

// Static outlier channels of one linear input (C3). An empty list has num = 0 and keep = nullptr.
struct Outliers {
  uint32_t num = 0;
  const uint32_t* channels = nullptr;  // [num], ascending
  const uint32_t* keep = nullptr;      // [k/32], bit c = channel 32*g+c is ordinary
};

// Inputs of a linear for a run of rows, in both forms. Quantised weights read q, s, t, a (C1, C3);
// float weights read x. A form that no consumer reads has null pointers and is not computed. All
// rows are 64-byte aligned.
struct LinearInput {
  uint32_t k = 0;       // logical columns; quantised forms need k % 32 == 0
  uint32_t ldk = 0;     // row stride of q and x in elements, multiple of 64
  uint32_t ldg = 0;     // row stride of s, t, a in elements, multiple of 16
  int8_t* q = nullptr;  // [rows][ldk]  codes in -127..127
  float* s = nullptr;   // [rows][ldg]  scale per group
  float* t = nullptr;   // [rows][ldg]  float(A_g) * s_g, rounded once
  // [rows][ldg]  A_g = sum of codes, of both halves of the group: that of k 0..15 in the low 16
  // bits, that of 16..31 above.
  int32_t* a = nullptr;
  float* x = nullptr;   // [rows][ldk]  f32
  float* xo = nullptr;  // [rows][kMaxOutliers] outlier activations
};

// A weight matrix [n outputs][k inputs] in the packed layout of kernels/gemm/layout.h: panels of 32
// output columns, missing columns of the last panel are zero weights.
struct PackedMatrix {
  WeightType type = WeightType::kF32;
  uint32_t n = 0;
  uint32_t k = 0;
  const std::byte* panels = nullptr;  // 64-byte aligned, packed_bytes(type, n, k)
  uint32_t num_outliers = 0;
  const float* outlier_w = nullptr;  // [num_outliers][round_up(n, 32)], exact weights rounded once
  const float* bias = nullptr;       // [round_up(n, 32)] or null
  uint32_t num_panels() const { return (n + kPanel - 1) / kPanel; }
};

// Runs of bytes that linears bring into L2 while they compute (KV of the next layer): one list of
// one thread, which consecutive calls go on with. The kernel advances `run` and `done_lines`.
struct Prefetch {
  const std::byte* const* runs = nullptr;
  uint32_t num_runs = 0;
  uint32_t run_lines = 0;  // of 64 bytes, in each run
  uint32_t run = 0;
  uint32_t done_lines = 0;  // of runs[run]
};

struct LinearArgs {
  const PackedMatrix* w = nullptr;
  LinearInput in;
  uint32_t num_rows = 0;
  uint32_t panel_begin = 0;  // panels [begin, end): who computes which cannot show
  uint32_t panel_end = 0;
  float* out =
      nullptr;  // [num_rows][ldo]; column c of the matrix is out[c]; padded columns are written too
  size_t ldo = 0;                // >= round_up(n, 32)
  bool add = false;              // out = out + (x*w + bias): the residual
  Prefetch* prefetch = nullptr;  // the calling thread's, or none
};

// Where a sequence's blocks are. Block i starts at table ? base + table[i] * stride : base + i *
// stride.
struct KvView {
  std::byte* base = nullptr;
  const uint32_t* table = nullptr;
  uint64_t stride = 0;
  uint32_t num_blocks = 0;
  uint32_t block_tokens = kTile;  // multiple of 64
  std::byte* block(uint32_t i) const {
    return base + (table ? uint64_t{table[i]} : uint64_t{i}) * stride;
  }
};

// Inside a block: [layer][kv_head][tile][K | V], each tile 64 positions, bf16.
//   K tile [head_dim/2 pairs][64 positions][2]      V tile [32 position pairs][head_dim][2]
// so that one 512-bit load feeds one vdpbf16ps in C5 order.
struct KvTileLayout {
  uint32_t num_layers = 0, num_kv_heads = 0, head_dim = 0, block_tokens = kTile;
  constexpr uint64_t half_tile_bytes() const { return uint64_t{kTile} * head_dim * 2; }
  constexpr uint64_t tile_bytes() const { return 2 * half_tile_bytes(); }
  constexpr uint64_t head_bytes() const { return tile_bytes() * (block_tokens / kTile); }
  constexpr uint64_t block_bytes() const {
    return uint64_t{num_layers} * num_kv_heads * head_bytes();
  }
  constexpr uint64_t offset(uint32_t layer, uint32_t kv_head) const {
    return (uint64_t{layer} * num_kv_heads + kv_head) * head_bytes();
  }
};

enum class RopeStyle : uint8_t { kAdjacent, kHalves };  // pairs (2i, 2i+1) | (i, i + rope_dim/2)
enum class GateKind : uint8_t { kSilu, kGeluTanh };

// Attention of one kv head and its query heads over consecutive positions of one sequence (C5).
struct AttentionArgs {
  KvView kv;
  uint64_t head_offset = 0;  // KvTileLayout::offset(layer, kv_head)
  uint32_t head_dim = 0;     // even, <= kMaxHeadDim
  uint32_t num_heads = 0;    // query heads that share this kv head
  uint32_t first_pos = 0;
  uint32_t num_queries =
      0;  // positions first_pos .. first_pos + num_queries - 1; their K and V are written already
  uint32_t window = 0;  // 0 = unlimited, else position pos sees pos-window+1 .. pos
  const uint16_t* q =
      nullptr;  // [num_queries] rows of stride ldq, each [num_heads][head_dim], bf16, scaled
  size_t ldq = 0;
  float* out = nullptr;  // [num_queries] rows of stride ldo, each [num_heads][head_dim]
  size_t ldo = 0;
  const std::byte* next_tile =
      nullptr;  // first tile of the caller's next item, prefetched at the end; may be null
};

// Softmax state of one row and one segment: m, l, then o[head_dim]; stride in floats.
inline constexpr uint32_t attention_state_stride(uint32_t head_dim) {
  return round_up(head_dim + 2, 16);
}

// One position of one sequence in a prefix group.
struct GroupMember {
  KvView kv;  // its own table; below shared_tokens it leads to the same tiles as every member's
  uint32_t pos = 0;             // >= shared_tokens; its K and V are written already
  const uint16_t* q = nullptr;  // [num_heads][head_dim], bf16, scaled
  float* out = nullptr;         // [num_heads][head_dim]
  float* states = nullptr;      // [num_heads][attention_state_stride], of attention_group_segment
};

// Attention of one kv head and its query heads for single positions of several sequences whose
// first shared_tokens positions are the same memory (Hydragen, arXiv 2402.05099; exactness C5, last
// rule): the shared tiles are read once for all members, then each goes on alone.
struct GroupAttentionArgs {
  const GroupMember* members = nullptr;
  uint32_t num_members = 0;
  uint32_t shared_tokens = 0;  // a multiple of kTile
  uint64_t head_offset = 0;
  uint32_t head_dim = 0;
  uint32_t num_heads = 0;
  uint32_t window = 0;
  const std::byte* next_tile = nullptr;
};

// C7: maximum and log2 of the sum of exponentials over raw logits, both in the contract's tile
// order.
struct LogSumExp {
  float max = 0.0f;
  float log2_sum = 0.0f;
  uint32_t argmax = 0;  // first in Order: highest logit, lowest id
  bool finite =
      true;  // false: at least one logit is NaN or infinite; other fields are meaningless then
};

// One draw (C7) from logits that were already processed (bias, allowed ids, min_tokens, penalties;
// barred ids are -inf).
struct SampleArgs {
  const float* logits = nullptr;  // [vocab]
  uint32_t vocab = 0;
  float temperature = 1.0f;  // < 2^-100: greedy
  uint32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  uint64_t seed = 0;
  uint32_t output_pos = 0;
  uint32_t choice = 0;
  void* scratch = nullptr;  // sample_scratch_bytes(vocab), 64-byte aligned
};

}  // namespace stet::kernels
