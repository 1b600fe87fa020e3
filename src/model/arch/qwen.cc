// Qwen 2 and 2.5: LLaMA's blocks with biases of q, k and v and rope over halves. Qwen 3: no biases,
// but an RMS norm of every q and k head before rope.
#include "src/model/arch/pre_norm.h"

namespace stet::model {
namespace {

constexpr double kDefaultRopeBase = 1000000.0;

constexpr WeightSpec kQwen2Weights[] = {
    {"attn_norm", WeightRole::kAttnNorm},  {"attn_q", WeightRole::kQ, true},
    {"attn_k", WeightRole::kK, true},      {"attn_v", WeightRole::kV, true},
    {"attn_output", WeightRole::kAttnOut}, {"ffn_norm", WeightRole::kFfnNorm},
    {"ffn_gate", WeightRole::kGate},       {"ffn_up", WeightRole::kUp},
    {"ffn_down", WeightRole::kDown},
};

constexpr WeightSpec kQwen3Weights[] = {
    {"attn_norm", WeightRole::kAttnNorm},
    {"attn_q", WeightRole::kQ},
    {"attn_k", WeightRole::kK},
    {"attn_v", WeightRole::kV},
    {"attn_q_norm", WeightRole::kQNorm},
    {"attn_k_norm", WeightRole::kKNorm},
    {"attn_output", WeightRole::kAttnOut},
    {"ffn_norm", WeightRole::kFfnNorm},
    {"ffn_gate", WeightRole::kGate},
    {"ffn_up", WeightRole::kUp},
    {"ffn_down", WeightRole::kDown},
};

Status finish_qwen(const HyperReader& reader, ArchParams* params) {
  return finish_pre_norm(reader, kDefaultRopeBase, params);
}

}  // namespace

const Architecture& qwen2_architecture() {
  static constexpr Architecture kArchitecture = {
      .name = "qwen2",
      .rope_style = kernels::RopeStyle::kHalves,
      .gate = kernels::GateKind::kSilu,
      .layer_weights = kQwen2Weights,
      .keys = {},
      .recipe = [] { return pre_norm_recipe("qwen2", false); },
      .finish = finish_qwen,
  };
  return kArchitecture;
}

const Architecture& qwen3_architecture() {
  static constexpr Architecture kArchitecture = {
      .name = "qwen3",
      .rope_style = kernels::RopeStyle::kHalves,
      .gate = kernels::GateKind::kSilu,
      .layer_weights = kQwen3Weights,
      .keys = {},
      .recipe = [] { return pre_norm_recipe("qwen3", true); },
      .finish = finish_qwen,
  };
  return kArchitecture;
}

}  // namespace stet::model
