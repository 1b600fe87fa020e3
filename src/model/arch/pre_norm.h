// What llama, qwen2 and qwen3 share: pre-norm blocks with a SiLU gate, one kind of layer, one rope
// table.
#pragma once

#include "src/model/arch/arch.h"

namespace stet::model {

// head_norm: RMS norm of every q and k head before rope (Qwen 3).
ModelRecipe pre_norm_recipe(const char* architecture, bool head_norm);
// Scores by 1 / sqrt(head_dim), embeddings as they are.
Status finish_pre_norm(const HyperReader& reader, double default_rope_base, ArchParams* params);

}  // namespace stet::model
