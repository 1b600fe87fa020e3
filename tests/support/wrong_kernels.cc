#include "tests/support/wrong_kernels.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "kernels/activation/reference.h"
#include "kernels/attention/reference.h"
#include "kernels/gemm/reference.h"
#include "kernels/norm_rope/reference.h"

namespace stet::kernels {
namespace {

// ---- attention with a choice of mistakes, written over positions instead of tiles
struct AttentionOrder {
  bool even_first = false;        // pairs of dimensions: even element first
  bool borders_at_chunk = false;  // tiles and segments counted from args.first_pos
  bool merge_descending = false;
};

const std::byte* tile_of(const AttentionArgs& args, uint32_t pos) {
  return tile_address(args, pos / kTile);
}

float wrong_score(const AttentionArgs& args, const uint16_t* q, uint32_t pos, bool even_first) {
  float s = 0.0f;
  for (uint32_t d = 0; d < args.head_dim; d += 2) {
    for (const uint32_t i : {even_first ? d : d + 1, even_first ? d + 1 : d}) {
      s = fma32(bf16_to_float(q[i]),
                bf16_to_float(reference::tile_k(tile_of(args, pos), i, pos % kTile)), s);
    }
  }
  return s;
}

// One tile: positions [begin, end) in slots begin - origin .. ; state as in the reference.
void wrong_tile(const AttentionArgs& args, const uint16_t* q, int64_t origin, uint32_t begin,
                uint32_t end, bool even_first, float* state) {
  float p[kTile] = {};
  float m = state[0];
  for (uint32_t pos = begin; pos < end; ++pos) {
    p[pos - origin] = wrong_score(args, q, pos, even_first);
    m = std::max(m, p[pos - origin]);
  }
  const float alpha = exp2_c6(state[0] - m);
  for (uint32_t pos = begin; pos < end; ++pos) {
    p[pos - origin] = bf16_to_float(float_to_bf16(exp2_c6(p[pos - origin] - m)));
  }
  for (uint32_t d = 0; d < args.head_dim; ++d) {
    float o = state[2 + d] * alpha;
    for (uint32_t t = 0; t < kTile; ++t) {
      const int64_t pos = origin + (t ^ 1);
      if (pos >= begin && pos < end) {
        const uint32_t at = static_cast<uint32_t>(pos);
        o = fma32(p[t ^ 1],
                  bf16_to_float(reference::tile_v(tile_of(args, at), args.head_dim, at % kTile, d)),
                  o);
      }
    }
    state[2 + d] = o;
  }
  state[0] = m;
  state[1] = fma32(state[1], alpha, c2_tree(p));
}

void wrong_row(const AttentionArgs& args, AttentionOrder order, const uint16_t* q, uint32_t pos,
               float* out) {
  const uint32_t first = first_visible(pos, args.window);
  const int64_t shift = order.borders_at_chunk ? args.first_pos % kTile : 0;
  const uint32_t stride = args.head_dim + 2;
  std::vector<float> states;
  int64_t segment = -1;
  for (int64_t origin = shift == 0 ? 0 : shift - int64_t{kTile}; origin <= pos; origin += kTile) {
    const uint32_t begin = static_cast<uint32_t>(std::max<int64_t>(origin, first));
    const uint32_t end = static_cast<uint32_t>(std::min<int64_t>(origin + kTile, int64_t{pos} + 1));
    if (begin >= end) {
      continue;
    }
    if (const int64_t s = (origin + kTile) / kSegment; s != segment || states.empty()) {
      segment = s;
      states.resize(states.size() + stride);
      reference::reset_state(&states[states.size() - stride], args.head_dim);
    }
    wrong_tile(args, q, origin, begin, end, order.even_first, &states[states.size() - stride]);
  }
  const size_t n = states.size() / stride;
  const auto at = [&](size_t i) {
    return &states[(order.merge_descending ? n - 1 - i : i) * stride];
  };
  for (size_t i = 1; i < n; ++i) {
    reference::merge_state(at(0), at(i), args.head_dim);
  }
  reference::write_result(at(0), args.head_dim, out);
}

template <bool kEvenFirst, bool kBordersAtChunk, bool kMergeDescending>
void wrong_attention(const AttentionArgs& args) {
  for (uint32_t i = 0; i < args.num_queries; ++i) {
    for (uint32_t h = 0; h < args.num_heads; ++h) {
      wrong_row(args, {kEvenFirst, kBordersAtChunk, kMergeDescending},
                args.q + i * args.ldq + h * args.head_dim, args.first_pos + i,
                args.out + i * args.ldo + h * args.head_dim);
    }
  }
}

// Wherever the caller splits by segments, the wrong order must show as well: the merge recomputes
// whole rows.
template <bool kEvenFirst, bool kBordersAtChunk, bool kMergeDescending>
void wrong_merge(const AttentionArgs& args, const float*, uint32_t) {
  wrong_attention<kEvenFirst, kBordersAtChunk, kMergeDescending>(args);
}

// ---- linears: the chain over K cut in two halves that are added
void linear_k_split(const LinearArgs& args) {
  const PackedMatrix& w = *args.w;
  const uint32_t units = is_quantised(w.type) ? w.k / kGroup : w.k;
  for (uint32_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
    const std::byte* base = w.panels + panel * panel_bytes(w.type, w.k);
    for (uint32_t row = 0; row < args.num_rows; ++row) {
      float acc[2][kPanel] = {};
      for (uint32_t u = 0; u < units; ++u) {  // groups, or single k
        const uint32_t per_unit = groups_per_unit(w.type);
        const std::byte* unit = base + size_t{u / per_unit} * panel_unit_bytes(w.type);
        const std::byte* group = unit + u % per_unit * group_bytes(w.type);
        const size_t at = size_t{row} * args.in.ldg + u;
        for (uint32_t c = 0; c < kPanel; ++c) {
          float& a = acc[u >= units / 2][c];
          if (!is_quantised(w.type)) {
            a = fma32(args.in.x[size_t{row} * args.in.ldk + u], packed_float(w.type, unit, c), a);
            continue;
          }
          int32_t sum = 0;
          for (uint32_t k = 0; k < kGroup; ++k) {
            const int32_t code = code_value(w.type, packed_code(w.type, group, k, c));
            sum += code * packed_factor(w.type, group, k, c) *
                   args.in.q[size_t{row} * args.in.ldk + u * kGroup + k];
          }
          const float d = packed_scale(w.type, unit, u % per_unit, c);
          a = fma32(static_cast<float>(sum), d * args.in.s[at], a);
          if (w.type == WeightType::kQ2_K) {
            const float m = packed_min(w.type, unit, u % per_unit, c) * args.in.s[at];
            a = fma32(static_cast<float>(reference::min_sum(group, args.in.a[at], c)), -m, a);
          } else if (has_minimum(w.type)) {
            a = fma32(args.in.t[at], packed_min(w.type, unit, u % per_unit, c), a);
          }
        }
      }
      for (uint32_t c = 0; c < kPanel; ++c) {
        acc[0][c] += acc[1][c];
      }
      reference::finish_panel(args, row, panel, acc[0]);
    }
  }
}

// ---- quantisation with a scale that the neighbour above can raise: rows are no longer independent
void raise_scales(const LinearInput& out, uint32_t row, const float* x) {
  if (!out.q || row == 0) {
    return;
  }
  for (uint32_t g = 0; g < out.k / kGroup; ++g) {
    const size_t at = size_t{row} * out.ldg + g;
    const float scale = std::max(out.s[at], out.s[at - out.ldg]);
    int32_t sums[2] = {0, 0};
    for (uint32_t c = 0; c < kGroup && scale > 0.0f; ++c) {
      const int32_t code = static_cast<int32_t>(__builtin_rintf(x[g * kGroup + c] / scale));
      out.q[size_t{row} * out.ldk + g * kGroup + c] =
          static_cast<int8_t>(std::clamp(code, -127, 127));
      sums[c / 16] += out.q[size_t{row} * out.ldk + g * kGroup + c];
    }
    out.s[at] = scale;
    out.a[at] = reference::half_sums(sums[0], sums[1]);
    out.t[at] = static_cast<float>(sums[0] + sums[1]) * scale;
  }
}

bool shared_quantise(const float* x, const Outliers& outliers, const LinearInput& out,
                     uint32_t row) {
  const bool fault = reference::quantise(x, outliers, out, row);
  if (!fault) {
    raise_scales(out, row, x);
  }
  return fault;
}

bool shared_rms_norm_quantise(const float* x, const float* w, float eps, const Outliers& outliers,
                              const LinearInput& out, uint32_t row) {
  std::vector<float> y(out.k);
  return reference::rms_norm(x, w, out.k, eps, y.data()) |
         shared_quantise(y.data(), outliers, out, row);
}

bool shared_gate_quantise(GateKind kind, const float* gate, const float* up,
                          const Outliers& outliers, const LinearInput& out, uint32_t row) {
  std::vector<float> y(out.k);
  for (uint32_t i = 0; i < out.k; ++i) {
    y[i] = reference::gate(kind, gate[i], up[i]);
  }
  return shared_quantise(y.data(), outliers, out, row);
}

// ---- sampler keyed by how many draws came before, as a slot in the batch would key it
uint32_t sample_by_call(const SampleArgs& args) {
  static std::atomic<uint32_t> calls{0};
  SampleArgs moved = args;
  moved.output_pos = calls.fetch_add(1);
  return best_table().sample(moved);
}

template <bool kEvenFirst, bool kBordersAtChunk, bool kMergeDescending>
KernelTable with_attention() {
  KernelTable t = best_table();
  t.attention = wrong_attention<kEvenFirst, kBordersAtChunk, kMergeDescending>;
  t.attention_merge = wrong_merge<kEvenFirst, kBordersAtChunk, kMergeDescending>;
  return t;
}

std::vector<WrongKernels> make_tables() {
  std::vector<WrongKernels> tables;
  tables.push_back(
      {"attention: even element of a pair first", with_attention<true, false, false>()});
  tables.push_back(
      {"attention: tile borders from the chunk start", with_attention<false, true, false>()});
  tables.push_back({"attention: segments merged descending", with_attention<false, false, true>()});
  KernelTable split = best_table();
  for (auto& linear : split.linear) {
    linear = linear_k_split;
  }
  tables.push_back({"linear: K split in two", split});
  KernelTable shared = best_table();
  shared.quantise = shared_quantise;
  shared.rms_norm_quantise = shared_rms_norm_quantise;
  shared.gate_quantise = shared_gate_quantise;
  tables.push_back({"quantise: scale shared across rows", shared});
  KernelTable keyed = best_table();
  keyed.sample = sample_by_call;
  tables.push_back({"sample: keyed by call, not by request", keyed});
  for (WrongKernels& t : tables) {
    t.table.name = t.name;
  }
  return tables;
}

}  // namespace

std::span<const WrongKernels> wrong_kernel_tables() {
  static const std::vector<WrongKernels> tables = make_tables();
  return tables;
}

}  // namespace stet::kernels
