// Which tensor of the file becomes which weight of the model, and where it will lie in memory. Made
// from the header alone; every shape is checked here, so that packing cannot fail on sizes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/model/arch/arch.h"
#include "stet/formats/tensor_index.h"
#include "stet/kernels/types.h"

namespace stet::model {

// One weight. Vectors (norms, biases) are kept as f32, matrices in the packed layout.
struct PlannedWeight {
  static constexpr uint32_t kModelWide = UINT32_MAX;
  WeightRole role = WeightRole::kNone;
  uint32_t layer = kModelWide;
  const formats::TensorInfo* tensor = nullptr;
  const formats::TensorInfo* bias = nullptr;  // null: none
  kernels::WeightType type = kernels::WeightType::kF32;
  uint32_t n = 1;  // rows; 1 for vectors
  uint32_t k = 0;  // row length
  bool is_vector = false;
  uint64_t offset = 0;       // in the weight memory, a multiple of 64
  uint64_t bias_offset = 0;  // [round_up(n, 32)] floats
};

// The index must outlive the plan.
struct ModelPlan {
  const Architecture* arch = nullptr;
  ArchParams params;
  std::vector<PlannedWeight> weights;
  std::vector<float> rope_factors;  // [rope_dim / 2], or empty
  uint64_t weight_bytes = 0;
  uint64_t rope_bytes = 0;
  uint64_t num_parameters = 0;
  std::string name;
  std::string quantisation;
};
Result<ModelPlan> plan_model(const formats::TensorIndex& index);

}  // namespace stet::model
