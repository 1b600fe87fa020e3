// ModelRecipe: a model architecture as data. A list of typed operations over named slots; one
// forward pass in executor/cpu walks it. verify_non_interference checks C9 on the data, at load.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stet/base/status.h"
#include "stet/kernels/types.h"

namespace stet::model {

// Row buffers of a step. A slot has one row per position of the step (kLogits, kSampleHidden: one
// per sampling row).
enum class Slot : uint8_t {
  kHidden,        // f32 [rows][width]: the residual stream
  kNormed,        // LinearInput of width: norm output
  kQkv,           // f32 [rows][q | k | v], each part starts at a multiple of 32 columns
  kAttention,     // f32 [rows][num_heads * head_dim]
  kAttentionIn,   // LinearInput of num_heads * head_dim
  kGateUp,        // f32 [rows][gate | up], each part starts at a multiple of 32 columns
  kGated,         // LinearInput of ffn width
  kBranch,        // f32 [rows][width]: output of a block before a sandwich norm
  kSampleHidden,  // f32 [sample rows][width]
  kSampleNormed,  // LinearInput [sample rows][width]
  kLogits,        // f32 [sample rows][vocab]
};

enum class OpKind : uint8_t {
  kEmbed,         // token ids -> kHidden
  kRmsNorm,       // f32 -> LinearInput, or f32 -> f32 (sandwich norm, in place in kBranch)
  kLinear,        // LinearInput -> f32; `add` accumulates into the residual
  kHeadNorm,      // QK-norm: per head of the q or k part of kQkv, in place
  kRopeStoreKv,   // rope q -> bf16, rope k and v -> this layer's cache
  kAttention,     // q, cache -> kAttention
  kQuantise,      // f32 -> LinearInput
  kGate,          // act(gate) * up -> LinearInput
  kAdd,           // kHidden += kBranch
  kGatherSample,  // rows that sample: kHidden -> kSampleHidden
};

// What an operation may read (C9).
enum class Reads : uint8_t {
  kOwnRow,       // row i of the output depends on row i of the inputs and weights
  kOwnSequence,  // ... and on cache positions of the same sequence, up to its own position
  kOtherRows,    // depends on other rows: never accepted by verify_non_interference
};

// Weight of a layer (or of the model, for the last ones).
enum class WeightRole : uint8_t {
  kNone,
  kAttnNorm,
  kQ,
  kK,
  kV,
  kQNorm,
  kKNorm,
  kAttnOut,
  kAttnPostNorm,
  kFfnNorm,
  kGate,
  kUp,
  kDown,
  kFfnPostNorm,
  kEmbedding,
  kOutputNorm,
  kHead,
};

struct Op {
  OpKind kind = OpKind::kEmbed;
  Reads reads = Reads::kOwnRow;
  Slot in = Slot::kHidden;
  Slot out = Slot::kHidden;
  std::vector<WeightRole> weights;  // linears: one per part of `out`, in order
  bool add = false;                 // linears: out += result
};

struct ModelRecipe {
  std::string architecture;  // "llama", "gemma3"
  std::vector<Op> prologue;  // embedding
  std::vector<Op> layer;     // repeated num_layers times
  std::vector<Op> epilogue;  // last norm and head, sampling rows only
};

// Kind `k` reads what C9's table says, every slot is written before it is read, and nothing reads
// other rows.
Status verify_non_interference(const ModelRecipe& recipe);

}  // namespace stet::model
