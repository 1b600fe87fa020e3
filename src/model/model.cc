#include "stet/model/model.h"

#include <algorithm>
#include <array>

#include "src/model/weight_plan.h"

namespace stet::model {

kernels::KvTileLayout Model::kv_layout(uint32_t block_tokens) const {
  return {.num_layers = hyper.num_layers,
          .num_kv_heads = hyper.num_kv_heads,
          .head_dim = hyper.head_dim,
          .block_tokens = block_tokens};
}

std::string Model::numerics_id_hex() const {
  std::array<uint8_t, 8> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(numerics_id >> (56 - 8 * i));
  }
  return to_hex(bytes);
}

Result<ModelSummary> summarise(const formats::TensorIndex& index) {
  STET_ASSIGN_OR_RETURN(ModelPlan plan, plan_model(index));
  const HyperParams& hyper = plan.params.hyper;
  constexpr uint64_t kBytesPerValue = 2;  // bf16
  ModelSummary summary;
  summary.name = std::move(plan.name);
  summary.architecture = plan.arch->name;
  summary.quantisation = std::move(plan.quantisation);
  summary.hyper = hyper;
  summary.weight_bytes = plan.weight_bytes;
  summary.kv_bytes_per_token =
      uint64_t{2} * kBytesPerValue * hyper.num_layers * hyper.num_kv_heads * hyper.head_dim;
  summary.num_parameters = plan.num_parameters;
  summary.rope_bytes = plan.rope_bytes;
  summary.layers = std::move(plan.params.layers);
  return summary;
}

}  // namespace stet::model
