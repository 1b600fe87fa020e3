// Sizes by name. A weight role has one shape in every architecture, a slot one size: recipes are
// checked before any file is read, tensors against the same table afterwards.
#pragma once

#include <cstdint>

#include "stet/model/model.h"
#include "stet/model/recipe.h"

namespace stet::model {

enum class Extent : uint8_t {
  kNone,   // as `rows`: the weight is a vector
  kWidth,  // of the residual stream
  kFfn,
  kQ,   // num_heads * head_dim
  kKv,  // num_kv_heads * head_dim
  kHeadDim,
  kVocab,
  kQkv,     // q | k | v, slots only
  kGateUp,  // gate | up, slots only
};
uint32_t extent_of(Extent extent, const HyperParams& hyper);  // 1 for kNone

struct WeightShape {
  Extent row = Extent::kNone;   // length of a row: inputs of a linear, or the vector itself
  Extent rows = Extent::kNone;  // outputs of a linear
  bool is_vector() const { return rows == Extent::kNone; }
};
WeightShape shape_of(WeightRole role);
Extent extent_of(Slot slot);

const char* role_name(WeightRole role);
const char* slot_name(Slot slot);
const char* op_name(OpKind kind);

}  // namespace stet::model
