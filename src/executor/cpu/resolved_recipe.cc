#include "src/executor/cpu/resolved_recipe.h"

#include <span>
#include <string>

namespace stet::executor {
namespace {

using model::Op;
using model::OpKind;
using model::Slot;
using model::WeightRole;

const kernels::PackedMatrix* find_matrix(const model::Model& m, const model::Layer* layer,
                                         WeightRole role) {
  if (role == WeightRole::kEmbedding) {
    return &m.embedding;
  }
  if (role == WeightRole::kHead) {
    return &m.head;
  }
  if (layer == nullptr) {
    return nullptr;  // outside the layers there are only these two
  }
  switch (role) {
    case WeightRole::kQ: return &layer->q;
    case WeightRole::kK: return &layer->k;
    case WeightRole::kV: return &layer->v;
    case WeightRole::kAttnOut: return &layer->attn_out;
    case WeightRole::kGate: return &layer->gate;
    case WeightRole::kUp: return &layer->up;
    case WeightRole::kDown: return &layer->down;
    default: return nullptr;
  }
}

std::span<const float> find_norm(const model::Model& m, const model::Layer* layer,
                                 WeightRole role) {
  if (role == WeightRole::kOutputNorm) {
    return m.output_norm;
  }
  if (layer == nullptr) {
    return {};
  }
  switch (role) {
    case WeightRole::kAttnNorm: return layer->attn_norm;
    case WeightRole::kQNorm: return layer->q_norm;
    case WeightRole::kKNorm: return layer->k_norm;
    case WeightRole::kAttnPostNorm: return layer->attn_post_norm;
    case WeightRole::kFfnNorm: return layer->ffn_norm;
    case WeightRole::kFfnPostNorm: return layer->ffn_post_norm;
    default: return {};
  }
}

Verb verb_of(const Op& op) {
  switch (op.kind) {
    case OpKind::kEmbed: return Verb::kEmbed;
    case OpKind::kGate: return Verb::kGate;
    case OpKind::kLinear:
      switch (op.weights.empty() ? WeightRole::kNone : op.weights[0]) {
        case WeightRole::kAttnOut: return Verb::kAttnOut;
        case WeightRole::kGate:
        case WeightRole::kUp: return Verb::kGateUp;
        case WeightRole::kDown: return Verb::kDown;
        case WeightRole::kHead: return Verb::kHead;
        default: return Verb::kQkv;
      }
    default: return Verb::kNorm;
  }
}

bool writes_linear_input(const Op& op) {
  return op.out == Slot::kNormed || op.out == Slot::kAttentionIn || op.out == Slot::kGated ||
         op.out == Slot::kSampleNormed;
}

// Which forms the linears that read `slot` after `at`, up to its next writer, want.
void find_forms(const model::Model& m, const model::Layer* layer, const std::vector<Op>& ops,
                size_t at, bool* needs_q, bool* needs_x) {
  const Slot slot = ops[at].out;
  for (size_t i = at + 1; i < ops.size(); ++i) {
    if (ops[i].kind == OpKind::kLinear && ops[i].in == slot) {
      for (WeightRole role : ops[i].weights) {
        const bool quantised = kernels::is_quantised(find_matrix(m, layer, role)->type);
        *needs_q |= quantised;
        *needs_x |= !quantised;
      }
    }
    if (ops[i].out == slot) {
      return;
    }
  }
}

Status unknown(const model::Model& m, const std::string& what) {
  return failed_precondition("the CPU backend does not know this recipe (" + m.recipe.architecture +
                             "): " + what);
}

Result<ResolvedOp> resolve_op(const model::Model& m, const model::Layer* layer,
                              const std::vector<Op>& ops, size_t at) {
  const Op& op = ops[at];
  ResolvedOp out;
  out.kind = op.kind;
  out.verb = verb_of(op);
  out.in = op.in;
  out.out = op.out;
  out.add = op.add;
  if (op.kind == OpKind::kLinear || op.kind == OpKind::kEmbed) {
    for (WeightRole role : op.weights) {
      const kernels::PackedMatrix* matrix = find_matrix(m, layer, role);
      if (matrix == nullptr || matrix->panels == nullptr) {
        return unknown(m, "a linear names a weight that is no matrix");
      }
      out.parts.push_back(matrix);
    }
    if (out.parts.empty()) {
      return unknown(m, "a linear without weights");
    }
  }
  if (op.kind == OpKind::kRmsNorm) {
    const std::span<const float> norm =
        op.weights.size() == 1 ? find_norm(m, layer, op.weights[0]) : std::span<const float>{};
    if (norm.empty()) {
      return unknown(m, "a norm without its weight");
    }
    out.norm = norm.data();
  }
  if (writes_linear_input(op)) {
    find_forms(m, layer, ops, at, &out.needs_q, &out.needs_x);
  }
  return out;
}

// kHeadNorm* kRopeStoreKv kAttention kQuantise, starting at `at`.
Status resolve_attention(const model::Model& m, const model::Layer& layer, size_t* at,
                         AttentionOps* out) {
  const std::vector<Op>& ops = m.recipe.layer;
  size_t i = *at;
  for (; i < ops.size() && ops[i].kind == OpKind::kHeadNorm; ++i) {
    for (WeightRole role : ops[i].weights) {
      const std::span<const float> norm = find_norm(m, &layer, role);
      if (norm.empty() || (role != WeightRole::kQNorm && role != WeightRole::kKNorm)) {
        return unknown(m, "a head norm without its weight");
      }
      (role == WeightRole::kQNorm ? out->q_norm : out->k_norm) = norm.data();
    }
  }
  if (i + 2 >= ops.size() || ops[i].kind != OpKind::kRopeStoreKv ||
      ops[i + 1].kind != OpKind::kAttention || ops[i + 2].kind != OpKind::kQuantise ||
      ops[i + 2].out != Slot::kAttentionIn) {
    return unknown(m, "expected rope, attention and quantise in this order");
  }
  find_forms(m, &layer, ops, i + 2, &out->needs_q, &out->needs_x);
  out->kind = layer.kind;
  *at = i + 3;
  return {};
}

}  // namespace

Result<ResolvedRecipe> resolve_recipe(const model::Model& m) {
  ResolvedRecipe recipe;
  for (size_t i = 0; i < m.recipe.prologue.size(); ++i) {
    STET_ASSIGN_OR_RETURN(ResolvedOp op, resolve_op(m, nullptr, m.recipe.prologue, i));
    recipe.prologue.push_back(std::move(op));
  }
  for (const model::Layer& layer : m.layers) {
    ResolvedLayer out;
    bool seen_attention = false;
    for (size_t i = 0; i < m.recipe.layer.size();) {
      const OpKind kind = m.recipe.layer[i].kind;
      if (kind == OpKind::kHeadNorm || kind == OpKind::kRopeStoreKv) {
        if (seen_attention) {
          return unknown(m, "two attentions in one layer");
        }
        STET_RETURN_IF_ERROR(resolve_attention(m, layer, &i, &out.attention));
        seen_attention = true;
        continue;
      }
      STET_ASSIGN_OR_RETURN(ResolvedOp op, resolve_op(m, &layer, m.recipe.layer, i));
      (seen_attention ? out.after : out.before).push_back(std::move(op));
      ++i;
    }
    if (!seen_attention) {
      return unknown(m, "a layer without attention");
    }
    recipe.layers.push_back(std::move(out));
  }
  for (size_t i = 0; i < m.recipe.epilogue.size(); ++i) {
    STET_ASSIGN_OR_RETURN(ResolvedOp op, resolve_op(m, nullptr, m.recipe.epilogue, i));
    recipe.epilogue.push_back(std::move(op));
  }
  return recipe;
}

}  // namespace stet::executor
