// C0: model hash and numerics id.
#pragma once

#include <span>
#include <string_view>

#include "src/model/weight_plan.h"
#include "stet/base/sha256.h"
#include "stet/model/model.h"

namespace stet::model {

// `tensor_digests[i]` is SHA-256 of the file bytes of index.tensors[i].
Sha256Digest compute_model_hash(const formats::TensorIndex& index,
                                std::span<const Sha256Digest> tensor_digests,
                                const ArchParams& params, std::string_view architecture,
                                std::span<const RopeTable> rope_tables);
uint64_t compute_numerics_id(const Sha256Digest& model_hash);

}  // namespace stet::model
