#include "tests/executor/naive_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "stet/base/check.h"

namespace stet::executor {
namespace {

using formats::TensorType;

float from_bits(uint32_t bits) {
  return std::bit_cast<float>(bits);
}

float bf16_value(uint16_t bits) {
  return from_bits(uint32_t{bits} << 16);
}

float round_to_bf16(float x) {  // nearest even; finite inputs
  const auto bits = std::bit_cast<uint32_t>(x);
  return from_bits((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000u);
}

float f16_value(uint16_t h) {
  const uint32_t exponent = h >> 10 & 31, mantissa = h & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, int(exponent) - 25);
  return static_cast<float>(h >> 15 ? -magnitude : magnitude);
}

float exp2_rule(float x) {  // C6
  constexpr uint32_t kHorner[] = {0x3920E99A, 0x3AAFA2B5, 0x3C1D96DE, 0x3D63576A,
                                  0x3E75FDED, 0x3F317218, 0x3F800000};
  x = std::isnan(x) ? -125.0f : std::clamp(x, -125.0f, 125.0f);
  const float n = std::nearbyint(x);
  float p = from_bits(kHorner[0]);
  for (int i = 1; i < 7; ++i) {
    p = std::fma(p, x - n, from_bits(kHorner[i]));
  }
  return std::ldexp(p, static_cast<int>(n));
}

float sum_rule(std::vector<float> partials) {  // C2: the tree over 64 partials
  for (size_t half = 32; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) {
      partials[j] = partials[j] + partials[j + half];
    }
  }
  return partials[0];
}

std::vector<float> rms_norm(const float* x, const float* w, uint32_t n, float eps) {
  std::vector<float> partials(64, 0.0f);
  for (uint32_t i = 0; i < n; ++i) {
    partials[i % 64] = std::fma(x[i], x[i], partials[i % 64]);
  }
  const float r = 1.0f / std::sqrt(sum_rule(partials) / static_cast<float>(n) + eps);
  std::vector<float> y(n);
  for (uint32_t i = 0; i < n; ++i) {
    y[i] = (x[i] * r) * w[i];
  }
  return y;
}

// C3, one group.
struct Group {
  int codes[32];
  int sums[2];          // of the codes of both halves
  float scale, offset;  // s, t
};
Group quantise(const float* x) {
  float a = 0.0f;
  for (int i = 0; i < 32; ++i) {
    a = std::max(a, std::fabs(x[i]));
  }
  Group g{};
  if (a < 0x1p-80f) {
    return g;
  }
  g.scale = a / 127.0f;
  const float r = 127.0f / a;
  for (int i = 0; i < 32; ++i) {
    g.codes[i] = static_cast<int>(std::nearbyint(x[i] * r));
    g.sums[i / 16] += g.codes[i];
  }
  g.offset = static_cast<float>(g.sums[0] + g.sums[1]) * g.scale;
  return g;
}

uint16_t u16(const std::byte* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// A group of 32 weights: codes without offset, times their integer factor; scale, minimum (0
// without one).
struct Block {
  int codes[32];
  float d, m;
  int mn[2];  // Q2_K: the factors of -m, of both halves
};

int byte_value(const std::byte* p) {
  return static_cast<int>(*p);
}

bool is_super(TensorType type) {
  return formats::block_format(type).elements == 256;
}

// Element i (0..255) of a Q6_K block.
int q6_k_code(const std::byte* p, int i) {
  const int half = i / 128, in_half = i % 128;
  const int low = byte_value(p + half * 64 + in_half % 64);
  const int high = byte_value(p + 128 + half * 32 + in_half % 32);
  const int code = (in_half < 64 ? low & 15 : low >> 4) | (high >> in_half / 32 * 2 & 3) << 4;
  return (code - 32) * static_cast<int8_t>(byte_value(p + 192 + i / 16));
}

// The 6-bit factor i (0..7 scales, 8..15 minima) of Q4_K and Q5_K.
int k_factor(const std::byte* p, int i) {
  const int g = i % 8;
  if (g < 4) {
    return byte_value(p + 4 + (i < 8 ? 0 : 4) + g) & 63;
  }
  const int low = byte_value(p + 4 + 8 + g - 4);
  const int high = byte_value(p + 4 + (i < 8 ? 0 : 4) + g - 4) >> 6;
  return (i < 8 ? low & 15 : low >> 4) | high << 4;
}

// The two bits of element i (0..255), of 64 bytes at p.
int two_bits(const std::byte* p, int i) {
  return byte_value(p + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 3;
}

Block read_q2_k_group(const std::byte* p, int g) {
  Block b{};
  b.d = f16_value(u16(p + 80));
  b.m = f16_value(u16(p + 82));
  for (int i = 0; i < 32; ++i) {
    const int factors = byte_value(p + 2 * g + i / 16);
    b.codes[i] = two_bits(p + 16, 32 * g + i) * (factors & 15);
    b.mn[i / 16] = factors >> 4;
  }
  return b;
}

Block read_q3_k_group(const std::byte* p, int g) {
  Block b{};
  b.d = f16_value(u16(p + 108));
  for (int i = 0; i < 32; ++i) {
    const int h = 2 * g + i / 16;
    const int low = h < 8 ? byte_value(p + 96 + h) & 15 : byte_value(p + 96 + h - 8) >> 4;
    const int high = byte_value(p + 104 + h % 4) >> h / 4 * 2 & 3;
    const int third = byte_value(p + i) >> g & 1;
    b.codes[i] = (two_bits(p + 32, 32 * g + i) + 4 * third - 4) * (low + 16 * high - 32);
  }
  return b;
}

// Group g of the row that begins at p.
Block read_super_group(TensorType type, const std::byte* row, uint64_t g) {
  const std::byte* p = row + g / 8 * formats::block_format(type).bytes;
  const int in_block = static_cast<int>(g % 8);
  if (type == TensorType::kQ2_K) {
    return read_q2_k_group(p, in_block);
  }
  if (type == TensorType::kQ3_K) {
    return read_q3_k_group(p, in_block);
  }
  Block b{};
  if (type == TensorType::kQ6_K) {
    b.d = f16_value(u16(p + 208));
  } else {
    b.d = f16_value(u16(p)) * static_cast<float>(k_factor(p, in_block));
    b.m = -(f16_value(u16(p + 2)) * static_cast<float>(k_factor(p, 8 + in_block)));
  }
  for (int i = 0; i < 32; ++i) {
    if (type == TensorType::kQ6_K) {
      b.codes[i] = q6_k_code(p, in_block * 32 + i);
      continue;
    }
    const int low = byte_value(p + (type == TensorType::kQ5_K ? 48 : 16) + in_block / 2 * 32 + i);
    const int fifth = type == TensorType::kQ5_K ? byte_value(p + 16 + i) >> in_block & 1 : 0;
    b.codes[i] = (in_block % 2 == 0 ? low & 15 : low >> 4) + 16 * fifth;
  }
  return b;
}

constexpr int kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};

Block read_group(TensorType type, const std::byte* row, uint64_t g) {
  if (is_super(type)) {
    return read_super_group(type, row, g);
  }
  const std::byte* p = row + g * formats::block_format(type).bytes;
  Block b{};
  b.d = f16_value(u16(p));
  const bool minimum = type == TensorType::kQ4_1 || type == TensorType::kQ5_1;
  const bool five = type == TensorType::kQ5_0 || type == TensorType::kQ5_1;
  b.m = minimum ? f16_value(u16(p + 2)) : 0.0f;
  const std::byte* fifths = p + (minimum ? 4 : 2);
  const std::byte* codes = fifths + (five ? 4 : 0);
  const int offset = type == TensorType::kQ4_0 ? 8 : type == TensorType::kQ5_0 ? 16 : 0;
  for (int i = 0; i < 32; ++i) {
    if (type == TensorType::kQ8_0) {
      b.codes[i] = static_cast<int8_t>(codes[i]);
      continue;
    }
    const int both = byte_value(codes + i % 16);
    const int fifth = five ? byte_value(fifths + i / 8) >> i % 8 & 1 : 0;
    b.codes[i] = (i < 16 ? both & 15 : both >> 4) + 16 * fifth - offset;
    if (type == TensorType::kIQ4_NL) {
      b.codes[i] = kIq4Values[b.codes[i]];
    }
  }
  return b;
}

bool has_minimum(TensorType type) {
  return type == TensorType::kQ4_1 || type == TensorType::kQ5_1 || type == TensorType::kQ4_K ||
         type == TensorType::kQ5_K;
}

bool is_float(TensorType type) {
  return type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBF16;
}

std::string layer_name(uint32_t layer, const char* what) {
  return "blk." + std::to_string(layer) + "." + what;
}

}  // namespace

NaiveModel::NaiveModel(const model::Model& model, const formats::TensorIndex& index)
    : model_(model), index_(index), cache_(model.hyper.num_layers) {}

float NaiveModel::weight(const formats::TensorInfo& tensor, uint32_t row, uint32_t col) const {
  const uint64_t k = tensor.dims[0];
  const std::byte* data = tensor.bytes.data();
  const uint64_t at = row * k + col;
  switch (tensor.type) {
    case TensorType::kF32: {
      float v;
      std::memcpy(&v, data + at * 4, 4);
      return v;
    }
    case TensorType::kF16: return f16_value(u16(data + at * 2));
    case TensorType::kBF16: return bf16_value(u16(data + at * 2));
    default: {
      const formats::BlockFormat format = formats::block_format(tensor.type);
      const Block b =
          read_group(tensor.type, data + row * (k / format.elements) * format.bytes, col / 32);
      const double m = tensor.type == TensorType::kQ2_K ? -double{b.m} * b.mn[col % 32 / 16] : b.m;
      // The exact real number, rounded once.
      return static_cast<float>(double{b.d} * b.codes[col % 32] + m);
    }
  }
}

NaiveModel::Row NaiveModel::linear(const std::string& name, const Row& x) const {
  const formats::TensorInfo* tensor = index_.find(name + ".weight");
  STET_CHECK(tensor != nullptr, name.c_str());
  const auto k = static_cast<uint32_t>(tensor->dims[0]), n = static_cast<uint32_t>(tensor->dims[1]);
  Row out(n);
  std::vector<Group> groups;
  if (!is_float(tensor->type)) {
    for (uint32_t g = 0; g < k / 32; ++g) {
      groups.push_back(quantise(x.data() + g * 32));
    }
  }
  const formats::BlockFormat format = formats::block_format(tensor->type);
  for (uint32_t row = 0; row < n; ++row) {
    float acc = 0.0f;
    if (is_float(tensor->type)) {
      for (uint32_t i = 0; i < k; ++i) {
        acc = std::fma(x[i], weight(*tensor, row, i), acc);
      }
    } else {
      for (uint32_t g = 0; g < k / 32; ++g) {
        const Block b = read_group(
            tensor->type,
            tensor->bytes.data() + uint64_t{row} * (k / format.elements) * format.bytes, g);
        int sum = 0;
        for (int i = 0; i < 32; ++i) {
          sum += b.codes[i] * groups[g].codes[i];
        }
        acc = std::fma(static_cast<float>(sum), b.d * groups[g].scale, acc);
        if (tensor->type == TensorType::kQ2_K) {
          const int a = b.mn[0] * groups[g].sums[0] + b.mn[1] * groups[g].sums[1];
          acc = std::fma(static_cast<float>(a), -(b.m * groups[g].scale), acc);
        } else if (has_minimum(tensor->type)) {
          acc = std::fma(groups[g].offset, b.m, acc);
        }
      }
    }
    out[row] = acc;
  }
  if (const formats::TensorInfo* bias = index_.find(name + ".bias")) {
    for (uint32_t row = 0; row < n; ++row) {
      float b;
      std::memcpy(&b, bias->bytes.data() + row * 4, 4);
      out[row] = out[row] + b;
    }
  }
  return out;
}

void NaiveModel::rope(uint32_t layer, float* head) const {
  const model::HyperParams& h = model_.hyper;
  const model::RopeTable& table = model_.rope_tables[model_.layers[layer].kind.rope_table];
  const uint32_t half = h.rope_dim / 2;
  for (uint32_t i = 0; i < half; ++i) {
    const bool adjacent = h.rope_style == kernels::RopeStyle::kAdjacent;
    float& x0 = head[adjacent ? 2 * i : i];
    float& x1 = head[adjacent ? 2 * i + 1 : i + half];
    const float c = table.cos[pos_ * half + i], s = table.sin[pos_ * half + i];
    const float y0 = std::fma(x0, c, -(x1 * s));
    x1 = std::fma(x1, c, x0 * s);
    x0 = y0;
  }
}

// C5 for the newest position, all heads.
NaiveModel::Row NaiveModel::attend(uint32_t layer, const Row& q) const {
  const model::HyperParams& h = model_.hyper;
  const uint32_t dim = h.head_dim, group = h.num_heads / h.num_kv_heads;
  const uint32_t window = model_.layers[layer].kind.window;
  const uint32_t first = window == 0 || pos_ + 1 < window ? 0 : pos_ + 1 - window;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  Row out(size_t{h.num_heads} * dim);
  for (uint32_t head = 0; head < h.num_heads; ++head) {
    const float* qh = q.data() + head * dim;
    const uint32_t kv = head / group * dim;
    float M = kNone, L = 0.0f;
    Row O(dim, 0.0f);
    bool merged = false;
    for (uint32_t segment = first / 512; segment <= pos_ / 512; ++segment) {
      float m = kNone, l = 0.0f;
      Row o(dim, 0.0f);
      for (uint32_t tile = segment * 8; tile < segment * 8 + 8; ++tile) {
        if (tile * 64 > pos_ || tile * 64 + 63 < first) {
          continue;
        }
        auto visible = [&](uint32_t slot) {
          return tile * 64 + slot >= first && tile * 64 + slot <= pos_;
        };
        std::vector<float> p(64, 0.0f);
        float top = m;
        for (uint32_t slot = 0; slot < 64; ++slot) {
          if (!visible(slot)) {
            continue;
          }
          const Row& k = cache_[layer].k[tile * 64 + slot];
          float s = 0.0f;
          for (uint32_t i = 0; i < dim; i += 2) {
            s = std::fma(qh[i + 1], k[kv + i + 1], s);
            s = std::fma(qh[i], k[kv + i], s);
          }
          p[slot] = s;
          top = std::max(top, s);
        }
        const float alpha = exp2_rule(m - top);
        for (uint32_t slot = 0; slot < 64; ++slot) {
          p[slot] = visible(slot) ? round_to_bf16(exp2_rule(p[slot] - top)) : 0.0f;
        }
        l = std::fma(l, alpha, sum_rule(p));
        for (uint32_t d = 0; d < dim; ++d) {
          o[d] = o[d] * alpha;
          for (uint32_t slot = 0; slot < 64; slot += 2) {
            const float v1 =
                visible(slot + 1) ? cache_[layer].v[tile * 64 + slot + 1][kv + d] : 0.0f;
            const float v0 = visible(slot) ? cache_[layer].v[tile * 64 + slot][kv + d] : 0.0f;
            o[d] = std::fma(p[slot + 1], v1, o[d]);
            o[d] = std::fma(p[slot], v0, o[d]);
          }
        }
        m = top;
      }
      if (!merged) {
        M = m, L = l, O = o, merged = true;
        continue;
      }
      const float top = std::max(M, m), a = exp2_rule(M - top), b = exp2_rule(m - top);
      L = std::fma(l, b, L * a);
      for (uint32_t d = 0; d < dim; ++d) {
        O[d] = std::fma(o[d], b, O[d] * a);
      }
      M = top;
    }
    for (uint32_t d = 0; d < dim; ++d) {
      out[head * dim + d] = O[d] * (1.0f / L) + 0.0f;
    }
  }
  return out;
}

NaiveModel::Row NaiveModel::attention_block(uint32_t layer, const Row& hidden) {
  const model::HyperParams& h = model_.hyper;
  const model::Layer& l = model_.layers[layer];
  const uint32_t dim = h.head_dim;
  const Row x = rms_norm(hidden.data(), l.attn_norm.data(), h.width, h.norm_eps);
  Row q = linear(layer_name(layer, "attn_q"), x), k = linear(layer_name(layer, "attn_k"), x);
  Row v = linear(layer_name(layer, "attn_v"), x);
  auto norm_heads = [&](Row& row, std::span<const float> w) {
    for (size_t at = 0; at < row.size() && !w.empty(); at += dim) {
      const Row y = rms_norm(row.data() + at, w.data(), dim, h.norm_eps);
      std::copy(y.begin(), y.end(), row.begin() + static_cast<ptrdiff_t>(at));
    }
  };
  norm_heads(q, l.q_norm);
  norm_heads(k, l.k_norm);
  for (size_t at = 0; at < q.size(); at += dim) {
    rope(layer, q.data() + at);
  }
  for (size_t at = 0; at < k.size(); at += dim) {
    rope(layer, k.data() + at);
  }
  const auto c = static_cast<float>(double{h.attention_scale} * 1.4426950408889634);
  for (float& e : q) {
    e = round_to_bf16(e * c);
  }
  std::transform(k.begin(), k.end(), k.begin(), round_to_bf16);
  std::transform(v.begin(), v.end(), v.begin(), round_to_bf16);
  cache_[layer].k.push_back(k);
  cache_[layer].v.push_back(v);
  Row y = linear(layer_name(layer, "attn_output"), attend(layer, q));
  return l.attn_post_norm.empty()
             ? y
             : rms_norm(y.data(), l.attn_post_norm.data(), h.width, h.norm_eps);
}

NaiveModel::Row NaiveModel::ffn_block(uint32_t layer, const Row& hidden) const {
  const model::HyperParams& h = model_.hyper;
  const model::Layer& l = model_.layers[layer];
  const Row x = rms_norm(hidden.data(), l.ffn_norm.data(), h.width, h.norm_eps);
  const Row gate = linear(layer_name(layer, "ffn_gate"), x),
            up = linear(layer_name(layer, "ffn_up"), x);
  Row y(gate.size());
  for (size_t i = 0; i < y.size(); ++i) {
    const float g = gate[i];
    float e = g * from_bits(0x3FB8AA3B);
    if (h.gate == kernels::GateKind::kGeluTanh) {
      const auto k = static_cast<float>(std::sqrt(2.0 / 3.14159265358979323846));
      e = (k * std::fma(0.044715f * g, g * g, g)) * from_bits(0x4038AA3B);
    }
    y[i] = (g / (1.0f + exp2_rule(-e))) * up[i];
  }
  y = linear(layer_name(layer, "ffn_down"), y);
  return l.ffn_post_norm.empty() ? y
                                 : rms_norm(y.data(), l.ffn_post_norm.data(), h.width, h.norm_eps);
}

std::vector<float> NaiveModel::append(uint32_t token_id) {
  const model::HyperParams& h = model_.hyper;
  const formats::TensorInfo* embedding = index_.find("token_embd.weight");
  Row hidden(h.width);
  for (uint32_t i = 0; i < h.width; ++i) {
    hidden[i] = weight(*embedding, token_id, i) * h.embedding_scale;
  }
  for (uint32_t layer = 0; layer < h.num_layers; ++layer) {
    const Row a = attention_block(layer, hidden);
    for (uint32_t i = 0; i < h.width; ++i) {
      hidden[i] = hidden[i] + a[i];
    }
    const Row f = ffn_block(layer, hidden);
    for (uint32_t i = 0; i < h.width; ++i) {
      hidden[i] = hidden[i] + f[i];
    }
  }
  ++pos_;
  const Row x = rms_norm(hidden.data(), model_.output_norm.data(), h.width, h.norm_eps);
  return linear(h.tied_head ? "token_embd" : "output", x);
}

}  // namespace stet::executor
