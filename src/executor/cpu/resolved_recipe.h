// The model's recipe with its weights looked up: what the forward pass walks, without names.
#pragma once

#include <vector>

#include "stet/base/status.h"
#include "stet/executor/cpu_backend.h"
#include "stet/model/model.h"

namespace stet::executor {

// One operation of one layer.
struct ResolvedOp {
  model::OpKind kind{};
  Verb verb{};
  model::Slot in{}, out{};
  bool add = false;
  std::vector<const kernels::PackedMatrix*>
      parts;                    // linears: parts of `out` in order; kEmbed: the embedding
  const float* norm = nullptr;  // kRmsNorm
  // Forms of the LinearInput that its readers in this layer need (kRmsNorm, kQuantise, kGate).
  bool needs_q = false, needs_x = false;
};

// Everything between the qkv linear and the attn_out linear: QK-norms, rope, cache, attention,
// quantise. They share no data between (sequence, kv head)s, so they are one stage of few regions.
struct AttentionOps {
  const float* q_norm = nullptr;  // [head_dim], null = absent
  const float* k_norm = nullptr;
  bool needs_q = false, needs_x = false;
  model::LayerKind kind;
};

struct ResolvedLayer {
  std::vector<ResolvedOp> before;  // up to and with the qkv linear
  AttentionOps attention;
  std::vector<ResolvedOp> after;
};

struct ResolvedRecipe {
  std::vector<ResolvedOp> prologue;
  std::vector<ResolvedLayer> layers;
  std::vector<ResolvedOp> epilogue;
};

// FAILED_PRECONDITION when the recipe has an order of operations that this backend does not know.
Result<ResolvedRecipe> resolve_recipe(const model::Model& model);

}  // namespace stet::executor
