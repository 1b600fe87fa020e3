// Gemma 3 (text). Against llama: RMS norm of every q and k head before rope, norms around both
// branches (sandwich), GELU gate, embedding scaled by sqrt(width), rope over halves, and two kinds
// of layers: five with a sliding window and their own rope base, then one with full attention. Norm
// weights in GGUF files include the "+1" already.
#include <cmath>

#include "src/model/arch/arch.h"

namespace stet::model {
namespace {

constexpr WeightSpec kGemma3Weights[] = {
    {"attn_norm", WeightRole::kAttnNorm},
    {"attn_q", WeightRole::kQ},
    {"attn_k", WeightRole::kK},
    {"attn_v", WeightRole::kV},
    {"attn_q_norm", WeightRole::kQNorm},
    {"attn_k_norm", WeightRole::kKNorm},
    {"attn_output", WeightRole::kAttnOut},
    {"post_attention_norm", WeightRole::kAttnPostNorm},
    {"ffn_norm", WeightRole::kFfnNorm},
    {"ffn_gate", WeightRole::kGate},
    {"ffn_up", WeightRole::kUp},
    {"ffn_down", WeightRole::kDown},
    {"post_ffw_norm", WeightRole::kFfnPostNorm},
};
constexpr const char* kKeys[] = {
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "rope.freq_base_swa",
    "final_logit_softcapping",
};

ModelRecipe recipe() {
  using K = OpKind;
  using S = Slot;
  using W = WeightRole;
  constexpr Reads kRow = Reads::kOwnRow;
  ModelRecipe r;
  r.architecture = "gemma3";
  r.prologue = {{K::kEmbed, kRow, S::kHidden, S::kHidden, {W::kEmbedding}}};
  r.layer = {
      {K::kRmsNorm, kRow, S::kHidden, S::kNormed, {W::kAttnNorm}},
      {K::kLinear, kRow, S::kNormed, S::kQkv, {W::kQ, W::kK, W::kV}},
      {K::kHeadNorm, kRow, S::kQkv, S::kQkv, {W::kQNorm, W::kKNorm}},
      {K::kRopeStoreKv, kRow, S::kQkv, S::kQkv, {}},
      {K::kAttention, Reads::kOwnSequence, S::kQkv, S::kAttention, {}},
      {K::kQuantise, kRow, S::kAttention, S::kAttentionIn, {}},
      {K::kLinear, kRow, S::kAttentionIn, S::kBranch, {W::kAttnOut}},
      {K::kRmsNorm, kRow, S::kBranch, S::kBranch, {W::kAttnPostNorm}},
      {K::kAdd, kRow, S::kBranch, S::kHidden, {}},
      {K::kRmsNorm, kRow, S::kHidden, S::kNormed, {W::kFfnNorm}},
      {K::kLinear, kRow, S::kNormed, S::kGateUp, {W::kGate, W::kUp}},
      {K::kGate, kRow, S::kGateUp, S::kGated, {}},
      {K::kLinear, kRow, S::kGated, S::kBranch, {W::kDown}},
      {K::kRmsNorm, kRow, S::kBranch, S::kBranch, {W::kFfnPostNorm}},
      {K::kAdd, kRow, S::kBranch, S::kHidden, {}},
  };
  r.epilogue = {
      {K::kGatherSample, kRow, S::kHidden, S::kSampleHidden, {}},
      {K::kRmsNorm, kRow, S::kSampleHidden, S::kSampleNormed, {W::kOutputNorm}},
      {K::kLinear, kRow, S::kSampleNormed, S::kLogits, {W::kHead}},
  };
  return r;
}

// Layers 0..4 slide, layer 5 sees all, and so on: with pattern n, layer i is full when i % n == n
// - 1.
Status read_layer_kinds(const HyperReader& reader, ArchParams* params) {
  STET_ASSIGN_OR_RETURN(const uint32_t window,
                        reader.count("attention.sliding_window", {0, kMaxContext}, 0));
  STET_ASSIGN_OR_RETURN(const uint32_t pattern,
                        reader.count("attention.sliding_window_pattern", {1, 1024}, 6));
  STET_ASSIGN_OR_RETURN(const double full_base,
                        reader.real("rope.freq_base", kRopeBaseRange, 1000000.0));
  STET_ASSIGN_OR_RETURN(const double sliding_base,
                        reader.real("rope.freq_base_swa", kRopeBaseRange, 10000.0));
  params->rope_bases = {full_base};
  if (window > 0) {
    params->rope_bases.push_back(sliding_base);
  }
  for (uint32_t i = 0; i < params->hyper.num_layers; ++i) {
    const bool slides = window > 0 && i % pattern != pattern - 1;
    params->layers.push_back({.window = slides ? window : 0, .rope_table = slides ? 1u : 0u});
  }
  return {};
}

Status finish_gemma3(const HyperReader& reader, ArchParams* params) {
  constexpr uint32_t kLayersOf27B = 62;
  HyperParams& hyper = params->hyper;
  // The query scalar has no key in the file: it is head_dim, but width / num_heads in the 27B
  // model.
  const uint32_t scalar =
      hyper.num_layers == kLayersOf27B ? hyper.width / hyper.num_heads : hyper.head_dim;
  hyper.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(scalar)));
  hyper.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(hyper.width)));
  STET_ASSIGN_OR_RETURN(const double cap, reader.real("final_logit_softcapping", {0.0, 1e6}, 0.0));
  if (cap != 0.0) {
    return reader.refuse("final_logit_softcapping", std::to_string(cap),
                         "0: soft-capped logits are not supported");
  }
  return read_layer_kinds(reader, params);
}

}  // namespace

const Architecture& gemma3_architecture() {
  static constexpr Architecture kArchitecture = {
      .name = "gemma3",
      .rope_style = kernels::RopeStyle::kHalves,
      .gate = kernels::GateKind::kGeluTanh,
      .layer_weights = kGemma3Weights,
      .keys = kKeys,
      .recipe = recipe,
      .finish = finish_gemma3,
  };
  return kArchitecture;
}

}  // namespace stet::model
