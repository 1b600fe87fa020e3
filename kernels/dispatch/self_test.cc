// Start-up check of a table on this very processor: the same bits as the scalar table on fixed
// data. It catches a dot instruction that adds in another order than C5 (then the next table is
// chosen) and a miscompiled or emulated operation.
#include <xmmintrin.h>

#include <cstring>

#include "kernels/dispatch/tables.h"
#include "kernels/gemm/layout.h"
#include "kernels/numerics/bits.h"

namespace stet::kernels {
namespace {

struct Rng {
  uint64_t state = 0x9E3779B97F4A7C15u;
  uint32_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<uint32_t>(state >> 32);
  }
  // -8..8 with magnitudes spread over 2^-12..2^3.
  float real() {
    const uint32_t u = next();
    return bits_float((u & 0x807FFFFFu) | ((115 + (u >> 23) % 15) << 23));
  }
};

constexpr uint32_t kDim = 64;
constexpr uint32_t kHeads = 3;
constexpr uint32_t kQueries = 3;
constexpr uint32_t kFirstPos = 66;  // two tiles, an odd border in the second
constexpr uint32_t kK = kSuperBlock;
constexpr uint32_t kRows = 7;  // more than one block of rows
constexpr uint32_t kN = 2 * kPanel;
constexpr uint32_t kVocab = 4096 + 77;

template <class T, size_t kCount>
bool same(const T (&a)[kCount], const T (&b)[kCount]) {
  return std::memcmp(a, b, sizeof a) == 0;
}

bool attention_agrees(const KernelTable& table) {
  constexpr KvTileLayout kLayout{1, 1, kDim, 2 * kTile};
  alignas(64) static constexpr float kOne[kDim] = {};
  alignas(64) std::byte cache[2][kLayout.block_bytes()];
  alignas(64) uint16_t q[kQueries * kHeads * kDim];
  alignas(64) float out[2][kQueries * kHeads * kDim] = {};
  const KernelTable* tables[] = {&table, &kScalarTable};
  for (int t = 0; t < 2; ++t) {
    Rng rng;
    std::memset(cache[t], 0xFF, sizeof cache[t]);  // NaN wherever nothing was written
    float k[kDim];
    float v[kDim];
    for (uint32_t pos = 0; pos < kFirstPos + kQueries; ++pos) {
      for (uint32_t d = 0; d < kDim; ++d) {
        k[d] = rng.real();
        v[d] = rng.real();
      }
      std::byte* tile = cache[t] + pos / kTile * 2 * kLayout.half_tile_bytes();
      tables[t]->rope_store_kv(RopeStyle::kHalves, k, v, kOne, kOne, kDim, 0, tile, pos % kTile);
    }
    for (uint16_t& x : q) {
      x = float_to_bf16(rng.real() * 0.25f);
    }
    AttentionArgs args;
    args.kv = {cache[t], nullptr, kLayout.block_bytes(), 1, 2 * kTile};
    args.head_dim = kDim;
    args.num_heads = kHeads;
    args.first_pos = kFirstPos;
    args.num_queries = kQueries;
    args.q = q;
    args.ldq = kHeads * kDim;
    args.out = out[t];
    args.ldo = kHeads * kDim;
    tables[t]->attention(args);
  }
  return same(cache[0], cache[1]) && same(out[0], out[1]);
}

// Rows for a linear, quantised by the table itself.
struct Rows {
  alignas(64) int8_t q[kRows * kK];
  alignas(64) float s[kRows * 16], t[kRows * 16], x[kRows * kK], xo[kRows * kMaxOutliers];
  alignas(64) int32_t a[kRows * 16];
  LinearInput view() { return {kK, kK, 16, q, s, t, a, x, xo}; }
};

bool linears_agree(const KernelTable& table) {
  static constexpr uint32_t kChannels[] = {5, 40};
  static constexpr uint32_t kKeep[kK / kGroup] = {~(1u << 5), ~(1u << 8), ~0u, ~0u,
                                                  ~0u,        ~0u,        ~0u, ~0u};
  const Outliers outliers{2, kChannels, kKeep};
  const KernelTable* tables[] = {&table, &kScalarTable};
  alignas(64) std::byte panels[kN / kPanel * kK * kPanel * 4];
  alignas(64) float outlier_w[2 * kN];
  alignas(64) float bias[kN];
  Rows rows[2];
  std::memset(rows, 0, sizeof rows);
  for (int type = 0; type < kNumWeightTypes; ++type) {
    alignas(64) float out[2][kRows * kN] = {};
    for (int t = 0; t < 2; ++t) {
      Rng rng;
      const PackedMatrix w{static_cast<WeightType>(type), kN, kK, panels, 2, outlier_w, bias};
      // Random bytes with exponents kept finite make valid panels of every type.
      for (std::byte& b : panels) {
        b = static_cast<std::byte>(rng.next() & 0x3B);
      }
      for (uint32_t c = 0; c < kN; ++c) {
        bias[c] = outlier_w[c] = outlier_w[kN + c] = rng.real();
      }
      for (uint32_t r = 0; r < kRows; ++r) {
        float gate[kK];
        float up[kK];
        float y[kK];
        for (uint32_t i = 0; i < kK; ++i) {
          gate[i] = rng.real();
          up[i] = rng.real();
        }
        tables[t]->rms_norm(gate, up, kK, 1e-5f, y);
        tables[t]->add(y, kK, gate);
        tables[t]->gate_quantise(r % 2 ? GateKind::kSilu : GateKind::kGeluTanh, gate, up, outliers,
                                 rows[t].view(), r);
      }
      const LinearArgs args{&w, rows[t].view(), kRows, 0, kN / kPanel, out[t], kN, true};
      tables[t]->linear[type](args);
    }
    if (std::memcmp(&rows[0], &rows[1], sizeof rows[0]) != 0 || !same(out[0], out[1])) {
      return false;
    }
  }
  return true;
}

bool logits_agree(const KernelTable& table) {
  alignas(64) float logits[kVocab];
  Rng rng;
  for (float& x : logits) {
    x = rng.real();
  }
  const LogSumExp a = table.log_sum_exp(logits, kVocab);
  const LogSumExp b = kScalarTable.log_sum_exp(logits, kVocab);
  return float_bits(a.max) == float_bits(b.max) &&
         float_bits(a.log2_sum) == float_bits(b.log2_sum) && a.argmax == b.argmax &&
         a.finite == b.finite;
}

}  // namespace

bool self_test(const KernelTable& table) {
  const unsigned environment = _mm_getcsr();
  set_float_environment();
  const bool ok = attention_agrees(table) && linears_agree(table) && logits_agree(table);
  _mm_setcsr(environment);
  return ok;
}

}  // namespace stet::kernels
