#include "src/model/weight_plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "src/model/rope.h"
#include "stet/kernels/pack.h"

namespace stet::model {
namespace {

using formats::TensorInfo;
using formats::TensorType;
using kernels::WeightType;

constexpr uint64_t kWeightAlignment = 64;
// A small file must not ask for much memory by a long context: tables stay below this or below the
// weights.
constexpr uint64_t kMaxRopeBytes = uint64_t{128} << 20;

WeightType weight_type(TensorType type) {
  switch (type) {
    case TensorType::kF32: return WeightType::kF32;
    case TensorType::kF16: return WeightType::kF16;
    case TensorType::kBF16: return WeightType::kBF16;
    case TensorType::kQ4_0: return WeightType::kQ4_0;
    case TensorType::kQ4_1: return WeightType::kQ4_1;
    case TensorType::kQ8_0: return WeightType::kQ8_0;
    case TensorType::kQ5_0: return WeightType::kQ5_0;
    case TensorType::kQ5_1: return WeightType::kQ5_1;
    case TensorType::kQ4_K: return WeightType::kQ4_K;
    case TensorType::kQ5_K: return WeightType::kQ5_K;
    case TensorType::kQ6_K: return WeightType::kQ6_K;
    case TensorType::kQ2_K: return WeightType::kQ2_K;
    case TensorType::kQ3_K: return WeightType::kQ3_K;
    case TensorType::kIQ4_NL: return WeightType::kIQ4_NL;
  }
  return WeightType::kF32;
}

std::string dims_text(std::span<const uint64_t> dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(dims[i]);
  }
  return text + "]";
}

Status bad_tensor(const TensorInfo& tensor, const std::string& what) {
  return data_loss("tensor '" + formats::printable(tensor.name) + "' (offset " +
                   std::to_string(tensor.file_offset) + "): " + what);
}

Status check_dims(const TensorInfo& tensor, const std::vector<uint64_t>& expected) {
  if (tensor.dims != expected) {
    return bad_tensor(tensor,
                      "found dims " + dims_text(tensor.dims) + ", expected " + dims_text(expected));
  }
  return {};
}

Status check_vector(const TensorInfo& tensor, uint32_t length) {
  if (kernels::is_quantised(weight_type(tensor.type))) {
    return bad_tensor(tensor, "found type " + std::string(tensor_type_name(tensor.type)) +
                                  ", expected F32, F16 or BF16");
  }
  return check_dims(tensor, {length});
}

// Walks an architecture's tables and takes the tensors it names; what is left over is refused.
class Planner {
 public:
  Planner(const formats::TensorIndex& index, ModelPlan* plan)
      : index_(index), plan_(*plan), used_(index.tensors.size(), false) {}

  Status take_all() {
    for (const WeightSpec& spec : model_weights()) {
      if (spec.role != WeightRole::kHead || !plan_.params.hyper.tied_head) {
        STET_RETURN_IF_ERROR(take(spec, PlannedWeight::kModelWide, spec.tensor));
      }
    }
    for (uint32_t layer = 0; layer < plan_.params.hyper.num_layers; ++layer) {
      const std::string prefix = "blk." + std::to_string(layer) + ".";
      for (const WeightSpec& spec : plan_.arch->layer_weights) {
        STET_RETURN_IF_ERROR(take(spec, layer, prefix + spec.tensor));
      }
    }
    if (plan_.arch->may_have_rope_factors) {
      STET_RETURN_IF_ERROR(take_rope_factors());
    }
    return refuse_left_over();
  }

 private:
  const TensorInfo* use(const std::string& name) {
    const TensorInfo* tensor = index_.find(name);
    if (tensor != nullptr) {
      used_[static_cast<size_t>(tensor - index_.tensors.data())] = true;
      plan_.num_parameters += tensor->bytes.size() / formats::block_format(tensor->type).bytes *
                              formats::block_format(tensor->type).elements;
    }
    return tensor;
  }

  uint64_t reserve(uint64_t bytes) {
    const uint64_t at = plan_.weight_bytes;
    plan_.weight_bytes += (bytes + kWeightAlignment - 1) / kWeightAlignment * kWeightAlignment;
    return at;
  }

  Status take(const WeightSpec& spec, uint32_t layer, const std::string& name) {
    const WeightShape shape = shape_of(spec.role);
    PlannedWeight weight;
    weight.role = spec.role;
    weight.layer = layer;
    weight.k = extent_of(shape.row, plan_.params.hyper);
    weight.n = extent_of(shape.rows, plan_.params.hyper);
    weight.is_vector = shape.is_vector();
    weight.tensor = use(name + ".weight");
    if (weight.tensor == nullptr) {
      return data_loss("tensor '" + name + ".weight' is missing; architecture '" +
                       plan_.arch->name + "' needs it");
    }
    weight.type = weight_type(weight.tensor->type);
    if (weight.is_vector) {
      STET_RETURN_IF_ERROR(check_vector(*weight.tensor, weight.k));
      weight.offset = reserve(uint64_t{weight.k} * sizeof(float));
    } else {
      STET_RETURN_IF_ERROR(check_dims(*weight.tensor, {weight.k, weight.n}));
      weight.offset = reserve(kernels::packed_bytes(weight.type, weight.n, weight.k));
    }
    if (spec.may_have_bias) {
      STET_RETURN_IF_ERROR(take_bias(name, &weight));
    }
    plan_.weights.push_back(weight);
    return {};
  }

  Status take_bias(const std::string& name, PlannedWeight* weight) {
    weight->bias = use(name + ".bias");
    if (weight->bias != nullptr) {
      STET_RETURN_IF_ERROR(check_vector(*weight->bias, weight->n));
      weight->bias_offset =
          reserve(sizeof(float) * uint64_t{kernels::round_up(weight->n, kernels::kPanel)});
    }
    return {};
  }

  Status take_rope_factors() {
    const TensorInfo* tensor = use("rope_freqs.weight");
    if (tensor == nullptr) {
      return {};
    }
    const uint32_t num_pairs = plan_.params.hyper.rope_dim / 2;
    STET_RETURN_IF_ERROR(check_vector(*tensor, num_pairs));
    if (tensor->type != formats::TensorType::kF32) {
      return bad_tensor(
          *tensor, "found type " + std::string(tensor_type_name(tensor->type)) + ", expected F32");
    }
    plan_.rope_factors.resize(num_pairs);
    std::memcpy(plan_.rope_factors.data(), tensor->bytes.data(), num_pairs * sizeof(float));
    for (uint32_t i = 0; i < num_pairs; ++i) {
      const float factor = plan_.rope_factors[i];
      if (!(factor > 0.0f) || !std::isfinite(factor)) {
        return bad_tensor(*tensor, "element " + std::to_string(i) + " is " +
                                       std::to_string(factor) + ", expected more than 0");
      }
    }
    return {};
  }

  Status refuse_left_over() const {
    for (size_t i = 0; i < used_.size(); ++i) {
      if (used_[i]) {
        continue;
      }
      const TensorInfo& tensor = index_.tensors[i];
      if (tensor.name.find("rope_freqs") != std::string::npos ||
          tensor.name.find("rope_factors") != std::string::npos) {
        return bad_tensor(tensor, "rope scaling by frequency factors is not supported");
      }
      return bad_tensor(tensor, std::string("is not part of architecture '") + plan_.arch->name +
                                    "'; a model without it would give other answers");
    }
    return {};
  }

  const formats::TensorIndex& index_;
  ModelPlan& plan_;
  std::vector<bool> used_;
};

// Quantised files of version 1 had other block layouts under the same type numbers.
Status check_file_kind(const formats::TensorIndex& index) {
  constexpr std::string_view kVersion = "general.quantization_version";
  if (index.has(kVersion)) {
    STET_ASSIGN_OR_RETURN(const uint64_t version, index.get_uint(kVersion));
    if (version != 2) {
      return data_loss("metadata 'general.quantization_version' at offset " +
                       std::to_string(index.metadata.find(kVersion)->second.file_offset) +
                       ": found " + std::to_string(version) + ", expected 2");
    }
  }
  return {};
}

// The type that holds most weights of the layers; the embedding is often kept at a higher
// precision.
std::string main_type(const ModelPlan& plan) {
  std::array<uint64_t, kernels::kNumWeightTypes> counts{};
  std::array<TensorType, kernels::kNumWeightTypes> types{};
  for (const PlannedWeight& weight : plan.weights) {
    if (!weight.is_vector && weight.layer != PlannedWeight::kModelWide) {
      counts[static_cast<size_t>(weight.type)] += uint64_t{weight.n} * weight.k;
      types[static_cast<size_t>(weight.type)] = weight.tensor->type;
    }
  }
  const auto most = std::max_element(counts.begin(), counts.end());
  return std::string(tensor_type_name(types[static_cast<size_t>(most - counts.begin())]));
}

Result<std::string> model_name(const formats::TensorIndex& index) {
  if (!index.has("general.name")) {
    return index.stem.empty() ? std::string("model") : formats::printable(index.stem);
  }
  STET_ASSIGN_OR_RETURN(const std::string name, index.get_string("general.name"));
  return formats::printable(name);
}

}  // namespace

Result<ModelPlan> plan_model(const formats::TensorIndex& index) {
  ModelPlan plan;
  STET_RETURN_IF_ERROR(check_file_kind(index));
  STET_ASSIGN_OR_RETURN(plan.arch, read_architecture(index));
  STET_ASSIGN_OR_RETURN(plan.params, read_params(*plan.arch, index));
  STET_ASSIGN_OR_RETURN(plan.name, model_name(index));
  STET_RETURN_IF_ERROR(Planner(index, &plan).take_all());
  plan.rope_bytes = rope_table_bytes(plan.params.hyper) * plan.params.rope_bases.size();
  if (plan.rope_bytes > std::max(kMaxRopeBytes, plan.weight_bytes)) {
    return HyperReader(index, plan.arch->name)
        .refuse("context_length",
                std::to_string(plan.params.hyper.context_len) + " positions, " +
                    std::to_string(plan.rope_bytes) + " bytes of rope tables",
                "at most " + std::to_string(std::max(kMaxRopeBytes, plan.weight_bytes)) +
                    " bytes for a model of this size");
  }
  plan.quantisation = main_type(plan);
  return plan;
}

}  // namespace stet::model
