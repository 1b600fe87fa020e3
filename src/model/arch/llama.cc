// LLaMA and what was trained in its shape (SmolLM2, TinyLlama, Llama 1-3; 3.1 and later by
// frequency factors).
// Pre-norm, SiLU gate, rope over adjacent pairs: GGUF files hold q and k permuted for it.
#include "src/model/arch/pre_norm.h"

namespace stet::model {
namespace {

constexpr WeightSpec kLlamaWeights[] = {
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

Status finish_llama(const HyperReader& reader, ArchParams* params) {
  return finish_pre_norm(reader, 10000.0, params);
}

}  // namespace

const Architecture& llama_architecture() {
  static constexpr Architecture kArchitecture = {
      .name = "llama",
      .rope_style = kernels::RopeStyle::kAdjacent,
      .gate = kernels::GateKind::kSilu,
      .layer_weights = kLlamaWeights,
      .keys = {},
      .may_have_rope_factors = true,
      .recipe = [] { return pre_norm_recipe("llama", false); },
      .finish = finish_llama,
  };
  return kArchitecture;
}

}  // namespace stet::model
