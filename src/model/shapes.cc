#include "src/model/shapes.h"

namespace stet::model {

uint32_t extent_of(Extent extent, const HyperParams& hyper) {
  const uint32_t q = hyper.num_heads * hyper.head_dim;
  const uint32_t kv = hyper.num_kv_heads * hyper.head_dim;
  switch (extent) {
    case Extent::kNone: return 1;
    case Extent::kWidth: return hyper.width;
    case Extent::kFfn: return hyper.ffn_width;
    case Extent::kQ: return q;
    case Extent::kKv: return kv;
    case Extent::kHeadDim: return hyper.head_dim;
    case Extent::kVocab: return hyper.vocab_size;
    case Extent::kQkv: return q + 2 * kv;
    case Extent::kGateUp: return 2 * hyper.ffn_width;
  }
  return 0;
}

WeightShape shape_of(WeightRole role) {
  switch (role) {
    case WeightRole::kNone: break;
    case WeightRole::kAttnNorm:
    case WeightRole::kAttnPostNorm:
    case WeightRole::kFfnNorm:
    case WeightRole::kFfnPostNorm:
    case WeightRole::kOutputNorm: return {Extent::kWidth, Extent::kNone};
    case WeightRole::kQNorm:
    case WeightRole::kKNorm: return {Extent::kHeadDim, Extent::kNone};
    case WeightRole::kQ: return {Extent::kWidth, Extent::kQ};
    case WeightRole::kK:
    case WeightRole::kV: return {Extent::kWidth, Extent::kKv};
    case WeightRole::kAttnOut: return {Extent::kQ, Extent::kWidth};
    case WeightRole::kGate:
    case WeightRole::kUp: return {Extent::kWidth, Extent::kFfn};
    case WeightRole::kDown: return {Extent::kFfn, Extent::kWidth};
    case WeightRole::kEmbedding:
    case WeightRole::kHead: return {Extent::kWidth, Extent::kVocab};
  }
  return {};
}

Extent extent_of(Slot slot) {
  switch (slot) {
    case Slot::kHidden:
    case Slot::kNormed:
    case Slot::kBranch:
    case Slot::kSampleHidden:
    case Slot::kSampleNormed: return Extent::kWidth;
    case Slot::kQkv: return Extent::kQkv;
    case Slot::kAttention:
    case Slot::kAttentionIn: return Extent::kQ;
    case Slot::kGateUp: return Extent::kGateUp;
    case Slot::kGated: return Extent::kFfn;
    case Slot::kLogits: return Extent::kVocab;
  }
  return Extent::kNone;
}

const char* role_name(WeightRole role) {
  switch (role) {
    case WeightRole::kNone: return "none";
    case WeightRole::kAttnNorm: return "attn_norm";
    case WeightRole::kQ: return "q";
    case WeightRole::kK: return "k";
    case WeightRole::kV: return "v";
    case WeightRole::kQNorm: return "q_norm";
    case WeightRole::kKNorm: return "k_norm";
    case WeightRole::kAttnOut: return "attn_out";
    case WeightRole::kAttnPostNorm: return "attn_post_norm";
    case WeightRole::kFfnNorm: return "ffn_norm";
    case WeightRole::kGate: return "gate";
    case WeightRole::kUp: return "up";
    case WeightRole::kDown: return "down";
    case WeightRole::kFfnPostNorm: return "ffn_post_norm";
    case WeightRole::kEmbedding: return "embedding";
    case WeightRole::kOutputNorm: return "output_norm";
    case WeightRole::kHead: return "head";
  }
  return "unknown weight";
}

const char* slot_name(Slot slot) {
  switch (slot) {
    case Slot::kHidden: return "hidden";
    case Slot::kNormed: return "normed";
    case Slot::kQkv: return "qkv";
    case Slot::kAttention: return "attention";
    case Slot::kAttentionIn: return "attention_in";
    case Slot::kGateUp: return "gate_up";
    case Slot::kGated: return "gated";
    case Slot::kBranch: return "branch";
    case Slot::kSampleHidden: return "sample_hidden";
    case Slot::kSampleNormed: return "sample_normed";
    case Slot::kLogits: return "logits";
  }
  return "unknown slot";
}

const char* op_name(OpKind kind) {
  switch (kind) {
    case OpKind::kEmbed: return "embed";
    case OpKind::kRmsNorm: return "rms_norm";
    case OpKind::kLinear: return "linear";
    case OpKind::kHeadNorm: return "head_norm";
    case OpKind::kRopeStoreKv: return "rope_store_kv";
    case OpKind::kAttention: return "attention";
    case OpKind::kQuantise: return "quantise";
    case OpKind::kGate: return "gate";
    case OpKind::kAdd: return "add";
    case OpKind::kGatherSample: return "gather_sample";
  }
  return "unknown operation";
}

}  // namespace stet::model
