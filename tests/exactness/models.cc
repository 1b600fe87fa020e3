#include "tests/exactness/models.h"

#include <cstdlib>
#include <map>

#include "stet/base/check.h"
#include "stet/formats/tensor_index.h"
#include "tests/support/tiny_gguf.h"

namespace stet::exactness {
namespace {

using formats::TensorType;

const std::map<std::string, testing::TinyModelSpec>& specs() {
  static const std::map<std::string, testing::TinyModelSpec> all = {
      {"llama_q4_1", {.arch = "llama", .seed = 1}},
      {"llama_q4_0_d64",
       {.arch = "llama",
        .seed = 2,
        .width = 96,
        .heads = 6,
        .kv_heads = 2,
        .head_dim = 64,
        .weight_type = TensorType::kQ4_0,
        .tied = false}},
      {"llama_f16_bias",
       {.arch = "llama",
        .seed = 3,
        .weight_type = TensorType::kF16,
        .embedding_type = TensorType::kF32,
        .biases = true}},
      {"llama_bf16",
       {.arch = "llama",
        .seed = 4,
        .head_dim = 32,
        .weight_type = TensorType::kBF16,
        .embedding_type = TensorType::kF16}},
      {"gemma3_q8_0",
       {.arch = "gemma3",
        .seed = 5,
        .heads = 4,
        .kv_heads = 1,
        .head_dim = 32,
        .weight_type = TensorType::kQ8_0}},
      {"gemma3_q4_1", {.arch = "gemma3", .seed = 6}},
      {"qwen2_q5_0",
       {.arch = "qwen2",
        .seed = 8,
        .weight_type = TensorType::kQ5_0,
        .embedding_type = TensorType::kQ8_0}},
      {"qwen3_q4_0", {.arch = "qwen3", .seed = 9, .weight_type = TensorType::kQ4_0}},
      // As in Q4_K_M files: most matrices Q4_K, the embedding and the head Q6_K.
      {"llama_q4_k",
       {.arch = "llama",
        .seed = 7,
        .num_layers = 1,
        .width = 256,
        .ffn = 256,
        .head_dim = 64,
        .weight_type = TensorType::kQ4_K,
        .embedding_type = TensorType::kQ6_K}},
      {"llama_q2_k",
       {.arch = "llama",
        .seed = 10,
        .num_layers = 1,
        .width = 256,
        .ffn = 256,
        .head_dim = 64,
        .weight_type = TensorType::kQ2_K,
        .embedding_type = TensorType::kQ3_K}},
      {"qwen3_iq4_nl", {.arch = "qwen3", .seed = 11, .weight_type = TensorType::kIQ4_NL}},
  };
  return all;
}

std::shared_ptr<const model::Model> load(const formats::TensorIndex& index) {
  auto model = model::load_model(index, {.num_threads = 2, .progress = {}});
  STET_CHECK(model.ok(), model.status().message().c_str());
  return *model;
}

}  // namespace

std::vector<std::string> tiny_model_names() {
  std::vector<std::string> names;
  for (const auto& [name, spec] : specs()) {
    names.push_back(name);
  }
  return names;
}

std::shared_ptr<const model::Model> tiny_model(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const model::Model>> cache;
  auto& model = cache[name];
  if (model == nullptr) {
    const std::vector<std::byte> bytes = testing::make_tiny_gguf(specs().at(name));
    auto index = formats::parse_gguf(bytes);
    STET_CHECK(index.ok(), index.status().message().c_str());
    model = load(*index);
  }
  return model;
}

std::shared_ptr<const model::Model> real_model(std::string* why) {
  const char* configured = std::getenv("STET_TEST_MODEL");
  const std::string path = configured != nullptr ? configured
                                                 : STET_SOURCE_DIR
                               "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  auto index = formats::open_gguf(path);
  if (!index.ok()) {
    *why = index.status().message() +
           " (make fetches it: scripts/fetch_model.sh; or set STET_TEST_MODEL)";
    return nullptr;
  }
  return load(*index);
}

}  // namespace stet::exactness
