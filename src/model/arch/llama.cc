// LLaMA and what was trained in its shape (SmolLM2, TinyLlama, Llama 1-3; 3.1 and later by
// frequency factors).
// Pre-norm, SiLU gate, rope over adjacent pairs: GGUF files hold q and k permuted for it.
#include <cmath>

#include "src/model/arch/arch.h"

namespace stet::model {
namespace {

constexpr WeightSpec kLayerWeights[] = {
    {"attn_norm", WeightRole::kAttnNorm},
    {"attn_q", WeightRole::kQ, true},
    {"attn_k", WeightRole::kK, true},
    {"attn_v", WeightRole::kV, true},
    {"attn_output", WeightRole::kAttnOut, true},
    {"ffn_norm", WeightRole::kFfnNorm},
    {"ffn_gate", WeightRole::kGate},
    {"ffn_up", WeightRole::kUp},
    {"ffn_down", WeightRole::kDown},
};

ModelRecipe recipe() {
  using K = OpKind;
  using S = Slot;
  using W = WeightRole;
  constexpr Reads kRow = Reads::kOwnRow;
  ModelRecipe r;
  r.architecture = "llama";
  r.prologue = {{K::kEmbed, kRow, S::kHidden, S::kHidden, {W::kEmbedding}}};
  r.layer = {
      {K::kRmsNorm, kRow, S::kHidden, S::kNormed, {W::kAttnNorm}},
      {K::kLinear, kRow, S::kNormed, S::kQkv, {W::kQ, W::kK, W::kV}},
      {K::kRopeStoreKv, kRow, S::kQkv, S::kQkv, {}},
      {K::kAttention, Reads::kOwnSequence, S::kQkv, S::kAttention, {}},
      {K::kQuantise, kRow, S::kAttention, S::kAttentionIn, {}},
      {K::kLinear, kRow, S::kAttentionIn, S::kHidden, {W::kAttnOut}, true},
      {K::kRmsNorm, kRow, S::kHidden, S::kNormed, {W::kFfnNorm}},
      {K::kLinear, kRow, S::kNormed, S::kGateUp, {W::kGate, W::kUp}},
      {K::kGate, kRow, S::kGateUp, S::kGated, {}},
      {K::kLinear, kRow, S::kGated, S::kHidden, {W::kDown}, true},
  };
  r.epilogue = {
      {K::kGatherSample, kRow, S::kHidden, S::kSampleHidden, {}},
      {K::kRmsNorm, kRow, S::kSampleHidden, S::kSampleNormed, {W::kOutputNorm}},
      {K::kLinear, kRow, S::kSampleNormed, S::kLogits, {W::kHead}},
  };
  return r;
}

Status finish(const HyperReader& reader, ArchParams* params) {
  HyperParams& hyper = params->hyper;
  hyper.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(hyper.head_dim)));
  hyper.embedding_scale = 1.0f;
  STET_ASSIGN_OR_RETURN(const double base, reader.real("rope.freq_base", kRopeBaseRange, 10000.0));
  params->rope_bases = {base};
  params->layers.assign(hyper.num_layers, LayerKind{.window = 0, .rope_table = 0});
  return {};
}

}  // namespace

const Architecture& llama_architecture() {
  static constexpr Architecture kArchitecture = {
      .name = "llama",
      .rope_style = kernels::RopeStyle::kAdjacent,
      .gate = kernels::GateKind::kSilu,
      .layer_weights = kLayerWeights,
      .keys = {},
      .may_have_rope_factors = true,
      .recipe = recipe,
      .finish = finish,
  };
  return kArchitecture;
}

}  // namespace stet::model
