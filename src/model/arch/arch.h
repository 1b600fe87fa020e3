// One model architecture as data: which tensors a file must hold, which hyper-parameters, which
// recipe. Adding one is a file beside llama.cc and a line in registry.cc; the forward pass is
// shared.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "src/model/hyper_reader.h"
#include "src/model/shapes.h"
#include "stet/model/model.h"
#include "stet/model/recipe.h"

namespace stet::model {

struct WeightSpec {
  // "attn_q": the file has blk.<layer>.attn_q.weight; for the model's own, attn_q.weight.
  const char* tensor = "";
  WeightRole role = WeightRole::kNone;
  bool may_have_bias = false;  // <tensor>.bias, one value per output
};

// What a file says, read and checked.
struct ArchParams {
  HyperParams hyper;
  std::vector<double> rope_bases;  // one rope table each
  std::vector<LayerKind> layers;
};

struct Architecture {
  const char* name = "";
  kernels::RopeStyle rope_style = kernels::RopeStyle::kAdjacent;
  kernels::GateKind gate = kernels::GateKind::kSilu;
  std::span<const WeightSpec> layer_weights;
  std::span<const char* const>
      keys;  // "<name>.<key>" beyond the common ones; any other key is refused
  bool may_have_rope_factors = false;  // rope_freqs.weight, one value per pair of rope dimensions
  ModelRecipe (*recipe)() = nullptr;
  // Finishes what differs: scales, layer kinds, rope bases. The common part of `params` is filled.
  Status (*finish)(const HyperReader& reader, ArchParams* params) = nullptr;
};

const Architecture& llama_architecture();
const Architecture& gemma3_architecture();
const Architecture& qwen2_architecture();
const Architecture& qwen3_architecture();
const Architecture* find_architecture(std::string_view name);  // null: this build does not know it

// token_embd, output_norm, output: the same in every architecture. `output` may be absent: tied to
// the embedding.
std::span<const WeightSpec> model_weights();

// Reads general.architecture and all hyper-parameters: known keys only, each in range, consistent
// with each other.
Result<const Architecture*> read_architecture(const formats::TensorIndex& index);
Result<ArchParams> read_params(const Architecture& arch, const formats::TensorIndex& index);

}  // namespace stet::model
