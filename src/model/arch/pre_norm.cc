#include "src/model/arch/pre_norm.h"

#include <cmath>

namespace stet::model {

ModelRecipe pre_norm_recipe(const char* architecture, bool head_norm) {
  using K = OpKind;
  using S = Slot;
  using W = WeightRole;
  constexpr Reads kRow = Reads::kOwnRow;
  ModelRecipe r;
  r.architecture = architecture;
  r.prologue = {{K::kEmbed, kRow, S::kHidden, S::kHidden, {W::kEmbedding}}};
  r.layer = {
      {K::kRmsNorm, kRow, S::kHidden, S::kNormed, {W::kAttnNorm}},
      {K::kLinear, kRow, S::kNormed, S::kQkv, {W::kQ, W::kK, W::kV}},
  };
  if (head_norm) {
    r.layer.push_back({K::kHeadNorm, kRow, S::kQkv, S::kQkv, {W::kQNorm, W::kKNorm}});
  }
  const std::vector<Op> rest = {
      {K::kRopeStoreKv, kRow, S::kQkv, S::kQkv, {}},
      {K::kAttention, Reads::kOwnSequence, S::kQkv, S::kAttention, {}},
      {K::kQuantise, kRow, S::kAttention, S::kAttentionIn, {}},
      {K::kLinear, kRow, S::kAttentionIn, S::kHidden, {W::kAttnOut}, true},
      {K::kRmsNorm, kRow, S::kHidden, S::kNormed, {W::kFfnNorm}},
      {K::kLinear, kRow, S::kNormed, S::kGateUp, {W::kGate, W::kUp}},
      {K::kGate, kRow, S::kGateUp, S::kGated, {}},
      {K::kLinear, kRow, S::kGated, S::kHidden, {W::kDown}, true},
  };
  r.layer.insert(r.layer.end(), rest.begin(), rest.end());
  r.epilogue = {
      {K::kGatherSample, kRow, S::kHidden, S::kSampleHidden, {}},
      {K::kRmsNorm, kRow, S::kSampleHidden, S::kSampleNormed, {W::kOutputNorm}},
      {K::kLinear, kRow, S::kSampleNormed, S::kLogits, {W::kHead}},
  };
  return r;
}

Status finish_pre_norm(const HyperReader& reader, double default_rope_base, ArchParams* params) {
  HyperParams& hyper = params->hyper;
  hyper.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(hyper.head_dim)));
  hyper.embedding_scale = 1.0f;
  STET_ASSIGN_OR_RETURN(const double base,
                        reader.real("rope.freq_base", kRopeBaseRange, default_rope_base));
  params->rope_bases = {base};
  params->layers.assign(hyper.num_layers, LayerKind{.window = 0, .rope_table = 0});
  return {};
}

}  // namespace stet::model
