// A loaded model: hyper-parameters, recipe, packed weights, numerics id. Immutable after load;
// shared by all threads.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "stet/base/sha256.h"
#include "stet/base/status.h"
#include "stet/formats/tensor_index.h"
#include "stet/kernels/types.h"
#include "stet/model/recipe.h"

namespace stet::model {

// Version of the rules in exactness.md that this build computes by. Part of every numerics id (C0).
inline constexpr uint32_t kContractVersion = 1;

struct HyperParams {
  uint32_t num_layers = 0;
  uint32_t width = 0;
  uint32_t ffn_width = 0;
  uint32_t num_heads = 0;
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t rope_dim = 0;
  uint32_t vocab_size = 0;
  uint32_t context_len = 0;  // tokens
  float norm_eps = 0.0f;
  float attention_scale = 0.0f;  // 1/sqrt(head_dim) unless the architecture says otherwise
  float embedding_scale = 1.0f;
  kernels::RopeStyle rope_style = kernels::RopeStyle::kAdjacent;
  kernels::GateKind gate = kernels::GateKind::kSilu;
  bool tied_head = false;
};

// One layer's attention reach and rope base (gemma3 has two kinds of layers).
struct LayerKind {
  uint32_t window = 0;      // 0 = unlimited
  uint32_t rope_table = 0;  // index into Model::rope_tables
};

// cos, sin per position, computed in double at load and rounded once (C6).
// [context_len][rope_dim/2] each.
struct RopeTable {
  std::vector<float> cos, sin;
};

struct Layer {
  LayerKind kind;
  std::span<const float> attn_norm, q_norm, k_norm, attn_post_norm, ffn_norm,
      ffn_post_norm;  // empty = absent
  kernels::PackedMatrix q, k, v, attn_out, gate, up, down;
};

// Immutable after load_model; thread-safe.
class Model {
 public:
  std::string name;  // general.name of the file, or its stem
  std::string architecture;
  std::string quantisation;  // of most weights: "Q4_1"
  HyperParams hyper;
  ModelRecipe recipe;
  std::vector<RopeTable> rope_tables;
  std::vector<Layer> layers;
  kernels::PackedMatrix embedding;
  std::span<const float> output_norm;
  kernels::PackedMatrix head;  // the embedding's panels when tied
  kernels::KvTileLayout kv_layout(uint32_t block_tokens) const;
  uint64_t weight_bytes = 0;  // packed

  Sha256Digest model_hash{};  // C0
  uint64_t numerics_id = 0;   // C0: first 64 bits
  std::string numerics_id_hex() const;

  std::shared_ptr<const void> storage;  // owns panels and vectors
};

// What load would need, from the header alone (memory plan, `stet inspect`). Makes every check of
// load_model that does not read weights.
struct ModelSummary {
  std::string name, architecture, quantisation;
  HyperParams hyper;
  uint64_t weight_bytes = 0;        // packed, in memory
  uint64_t kv_bytes_per_token = 0;  // bf16
  uint64_t num_parameters = 0;
  uint64_t rope_bytes = 0;  // of all rope tables, beside weight_bytes
  std::vector<LayerKind> layers;
};
Result<ModelSummary> summarise(const formats::TensorIndex& index);

struct LoadOptions {
  uint32_t num_threads = 1;  // for packing and hashing
  // Called from the loading thread with fractions 0..1; may be empty.
  std::function<void(double)> progress;
};
// Checks shapes and types against the architecture's recipe, packs the weights into anonymous
// memory and computes the numerics id. After it returns the file is not needed any more. Errors:
// DATA_LOSS (what the file holds is not a model this build computes exactly; names the key or
// tensor), RESOURCE_EXHAUSTED (no memory for the weights).
Result<std::shared_ptr<const Model>> load_model(const formats::TensorIndex& index,
                                                const LoadOptions& options);

// The architectures this build knows, for messages and tests: "llama", "gemma3".
std::span<const char* const> known_architectures();

}  // namespace stet::model
