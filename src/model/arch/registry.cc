#include <array>

#include "src/model/arch/arch.h"

namespace stet::model {
namespace {

constexpr std::array<const char*, 4> kNames = {"llama", "gemma3", "qwen2", "qwen3"};

constexpr WeightSpec kModelWeights[] = {
    {"token_embd", WeightRole::kEmbedding},
    {"output_norm", WeightRole::kOutputNorm},
    {"output", WeightRole::kHead},
};

}  // namespace

std::span<const char* const> known_architectures() {
  return kNames;
}

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture* arch : {&llama_architecture(), &gemma3_architecture(),
                                   &qwen2_architecture(), &qwen3_architecture()}) {
    if (name == arch->name) {
      return arch;
    }
  }
  return nullptr;
}

std::span<const WeightSpec> model_weights() {
  return kModelWeights;
}

}  // namespace stet::model
