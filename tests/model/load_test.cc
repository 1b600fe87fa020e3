// Loading: every weight arrives, in its place, with its value; identity depends on the model and on
// nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "stet/kernels/pack.h"
#include "tests/model/model_testing.h"
#include "tests/support/quantise.h"

namespace stet::model {
namespace {

using formats::TensorIndex;
using formats::TensorInfo;
using formats::TensorType;
using kernels::PackedMatrix;
using kernels::WeightType;
using stet::testing::make_tiny_gguf;
using stet::testing::TinyModelSpec;

constexpr std::pair<TensorType, WeightType> kTypes[] = {
    {TensorType::kF32, WeightType::kF32},   {TensorType::kF16, WeightType::kF16},
    {TensorType::kBF16, WeightType::kBF16}, {TensorType::kQ4_0, WeightType::kQ4_0},
    {TensorType::kQ4_1, WeightType::kQ4_1}, {TensorType::kQ8_0, WeightType::kQ8_0},
    {TensorType::kQ5_0, WeightType::kQ5_0}, {TensorType::kQ5_1, WeightType::kQ5_1},
    {TensorType::kQ4_K, WeightType::kQ4_K}, {TensorType::kQ5_K, WeightType::kQ5_K},
    {TensorType::kQ6_K, WeightType::kQ6_K}, {TensorType::kQ2_K, WeightType::kQ2_K},
    {TensorType::kQ3_K, WeightType::kQ3_K}, {TensorType::kIQ4_NL, WeightType::kIQ4_NL},
};

// The panels of `matrix` are those of the file's tensor, packed in one piece.
void expect_packed_from(const PackedMatrix& matrix, const TensorInfo& tensor, WeightType type) {
  ASSERT_EQ(matrix.type, type) << tensor.name;
  ASSERT_EQ(matrix.k, tensor.dims[0]) << tensor.name;
  ASSERT_EQ(matrix.n, tensor.dims[1]) << tensor.name;
  ASSERT_EQ(reinterpret_cast<uintptr_t>(matrix.panels) % 64, 0u);
  std::vector<std::byte> expected(kernels::packed_bytes(type, matrix.n, matrix.k));
  ASSERT_TRUE(kernels::pack_panels(type, tensor.bytes.data(), matrix.n, matrix.k, 0,
                                   matrix.num_panels(), expected.data()));
  EXPECT_EQ(std::memcmp(matrix.panels, expected.data(), expected.size()), 0) << tensor.name;
}

void expect_floats(std::span<const float> found, const TensorInfo& tensor) {
  ASSERT_EQ(found.size(), tensor.dims[0]) << tensor.name;
  EXPECT_EQ(std::memcmp(found.data(), tensor.bytes.data(), found.size_bytes()), 0) << tensor.name;
}

void expect_layer(const Layer& layer, const TensorIndex& index, uint32_t i, WeightType type) {
  const std::string prefix = "blk." + std::to_string(i) + ".";
  auto tensor = [&](const char* name) -> const TensorInfo& {
    return *index.find(prefix + name + ".weight");
  };
  expect_packed_from(layer.q, tensor("attn_q"), type);
  expect_packed_from(layer.k, tensor("attn_k"), type);
  expect_packed_from(layer.v, tensor("attn_v"), type);
  expect_packed_from(layer.attn_out, tensor("attn_output"), type);
  expect_packed_from(layer.gate, tensor("ffn_gate"), type);
  expect_packed_from(layer.up, tensor("ffn_up"), type);
  expect_packed_from(layer.down, tensor("ffn_down"), type);
  expect_floats(layer.attn_norm, tensor("attn_norm"));
  expect_floats(layer.ffn_norm, tensor("ffn_norm"));
  const std::pair<const char*, std::span<const float>> optional[] = {
      {"attn_q_norm", layer.q_norm},
      {"attn_k_norm", layer.k_norm},
      {"post_attention_norm", layer.attn_post_norm},
      {"post_ffw_norm", layer.ffn_post_norm}};
  for (const auto& [name, found] : optional) {
    if (index.find(prefix + name + ".weight") != nullptr) {
      expect_floats(found, tensor(name));
    } else {
      EXPECT_TRUE(found.empty()) << name;
    }
  }
}

TEST(Load, EveryWeightOfEveryTypeArrivesInItsPlace) {
  for (const char* arch : known_architectures()) {
    for (const auto& [file_type, type] : kTypes) {
      TinyModelSpec spec;
      spec.arch = arch;
      spec.weight_type = file_type;
      if (formats::block_format(file_type).elements == 256) {
        spec.width = spec.ffn = 256;
        spec.head_dim = 64;
      }
      spec.embedding_type = file_type;
      const std::vector<std::byte> bytes = make_tiny_gguf(spec);
      const TensorIndex index = formats::parse_gguf(bytes).value();
      const auto loaded = load_model(index, {});
      ASSERT_TRUE(loaded.ok()) << loaded.status().message();
      const Model& model = *loaded.value();
      EXPECT_EQ(model.architecture, arch);
      EXPECT_EQ(model.quantisation, formats::tensor_type_name(file_type));
      expect_packed_from(model.embedding, *index.find("token_embd.weight"), type);
      expect_floats(model.output_norm, *index.find("output_norm.weight"));
      for (uint32_t i = 0; i < model.layers.size(); ++i) {
        expect_layer(model.layers[i], index, i, type);
      }
    }
  }
}

TEST(Load, ATiedHeadIsTheEmbeddingAndAnUntiedOneIsNot) {
  TinyModelSpec spec;
  const auto tied = load_tiny(spec).value();
  EXPECT_TRUE(tied->hyper.tied_head);
  EXPECT_EQ(tied->head.panels, tied->embedding.panels);
  spec.tied = false;
  spec.head_type = TensorType::kF16;
  const std::vector<std::byte> bytes = make_tiny_gguf(spec);
  const TensorIndex index = formats::parse_gguf(bytes).value();
  const auto untied = load_model(index, {}).value();
  EXPECT_FALSE(untied->hyper.tied_head);
  expect_packed_from(untied->head, *index.find("output.weight"), WeightType::kF16);
}

TEST(Load, BiasesAreCopiedAndPaddedWithZeros) {
  TinyModelSpec spec;
  EXPECT_EQ(load_tiny(spec).value()->layers[0].q.bias, nullptr);
  spec.biases = true;
  spec.kv_heads = 1;  // 16 outputs: half a panel of padding
  const std::vector<std::byte> bytes = make_tiny_gguf(spec);
  const TensorIndex index = formats::parse_gguf(bytes).value();
  const auto model = load_model(index, {}).value();
  const Layer& layer = model->layers[1];
  expect_floats({layer.q.bias, layer.q.n}, *index.find("blk.1.attn_q.bias"));
  expect_floats({layer.k.bias, layer.k.n}, *index.find("blk.1.attn_k.bias"));
  expect_floats({layer.v.bias, layer.v.n}, *index.find("blk.1.attn_v.bias"));
  expect_floats({layer.attn_out.bias, layer.attn_out.n}, *index.find("blk.1.attn_output.bias"));
  for (uint32_t i = layer.k.n; i < 32; ++i) {
    EXPECT_EQ(layer.k.bias[i], 0.0f);
  }
}

TEST(Load, ModelsOutliveTheFilesBytes) {
  std::shared_ptr<const Model> model;
  {
    std::vector<std::byte> bytes = make_tiny_gguf({});
    model = load_bytes(bytes).value();
    std::fill(bytes.begin(), bytes.end(), std::byte{0xFF});
  }
  const auto again = load_tiny({}).value();
  EXPECT_EQ(model->output_norm[0], again->output_norm[0]);
  EXPECT_EQ(std::memcmp(model->embedding.panels, again->embedding.panels,
                        kernels::packed_bytes(model->embedding.type, model->embedding.n,
                                              model->embedding.k)),
            0);
}

TEST(Load, RopeTablesAreDoublesRoundedOnce) {
  TinyModelSpec spec;
  spec.arch = "gemma3";
  const auto model = load_tiny(spec).value();
  ASSERT_EQ(model->rope_tables.size(), 2u);
  const double bases[] = {1000000.0, 10000.0};
  const uint32_t num_pairs = spec.head_dim / 2;
  for (int t = 0; t < 2; ++t) {
    const RopeTable& table = model->rope_tables[t];
    ASSERT_EQ(table.cos.size(), size_t{spec.context} * num_pairs);
    ASSERT_EQ(table.sin.size(), table.cos.size());
    for (uint32_t pos : {0u, 1u, 1023u, 1024u, spec.context - 1}) {
      for (uint32_t i = 0; i < num_pairs; ++i) {
        const double angle = pos * std::pow(bases[t], -2.0 * i / spec.head_dim);
        EXPECT_EQ(table.cos[size_t{pos} * num_pairs + i], static_cast<float>(std::cos(angle)));
        EXPECT_EQ(table.sin[size_t{pos} * num_pairs + i], static_cast<float>(std::sin(angle)));
      }
    }
  }
}

// Llama 3.1's rope scaling: one divisor per pair.
TEST(Load, RopeFactorsDivideTheFrequencies) {
  TinyModelSpec spec;
  const auto plain = load_tiny(spec).value();
  const uint32_t num_pairs = spec.head_dim / 2;
  for (uint32_t i = 0; i < num_pairs; ++i) {
    spec.rope_factors.push_back(i < 2 ? 1.0f : 1.5f * static_cast<float>(i));
  }
  const auto model = load_tiny(spec).value();
  EXPECT_NE(model->numerics_id, plain->numerics_id);
  const RopeTable& table = model->rope_tables[0];
  for (uint32_t pos : {0u, 7u, spec.context - 1}) {
    for (uint32_t i = 0; i < num_pairs; ++i) {
      const double angle =
          pos * (std::pow(10000.0, -2.0 * i / spec.head_dim) / spec.rope_factors[i]);
      EXPECT_EQ(table.cos[size_t{pos} * num_pairs + i], static_cast<float>(std::cos(angle)));
      EXPECT_EQ(table.sin[size_t{pos} * num_pairs + i], static_cast<float>(std::sin(angle)));
    }
  }
}

TEST(Load, ThreadsDoNotShowInWeightsOrIdentity) {
  TinyModelSpec spec;
  spec.vocab = 2000;
  const auto one = load_tiny(spec, 1).value();
  for (uint32_t num_threads : {0u, 2u, 5u}) {
    const auto many = load_tiny(spec, num_threads).value();
    EXPECT_EQ(many->model_hash, one->model_hash);
    EXPECT_EQ(many->numerics_id, one->numerics_id);
    EXPECT_EQ(many->weight_bytes, one->weight_bytes);
    // The storage is one mapping that starts with the embedding.
    EXPECT_EQ(std::memcmp(many->embedding.panels, one->embedding.panels, one->weight_bytes), 0);
  }
}

TEST(Load, ProgressEndsAtOneAndNeverFallsBack) {
  const std::vector<std::byte> bytes = make_tiny_gguf({});
  const TensorIndex index = formats::parse_gguf(bytes).value();
  std::vector<double> seen;
  ASSERT_TRUE(
      load_model(index, {.num_threads = 1, .progress = [&](double done) { seen.push_back(done); }})
          .ok());
  ASSERT_FALSE(seen.empty());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), 1.0);
}

// Everything that changes an answer changes the id; names and tokenizers do not.
TEST(Identity, DependsOnWhatIsComputedAndOnNothingElse) {
  const auto base = load_tiny({}).value();
  EXPECT_EQ(base->numerics_id_hex().size(), 16u);
  std::set<std::string> ids = {base->numerics_id_hex()};
  auto expect_new = [&](const TinyModelSpec& spec, const char* what) {
    EXPECT_TRUE(ids.insert(load_tiny(spec).value()->numerics_id_hex()).second) << what;
  };
  expect_new({.seed = 2}, "weights");
  expect_new({.num_layers = 2}, "layers");
  expect_new({.context = 1024}, "length of the rope table");
  expect_new({.weight_type = TensorType::kQ4_0}, "type");
  expect_new({.tied = false}, "head");
  expect_new({.arch = "gemma3"}, "architecture");
  expect_new({.arch = "gemma3", .window = 71}, "window");

  EXPECT_EQ(load_tiny({.name = "other"}).value()->numerics_id, base->numerics_id);
  EXPECT_EQ(load_tiny({.pre_tokenizer = "gpt-2"}).value()->numerics_id, base->numerics_id);
  EXPECT_EQ(load_tiny({.version = 2}).value()->numerics_id, base->numerics_id);
}

TEST(Identity, OneBitOfAWeightChangesTheHash) {
  std::vector<std::byte> bytes = make_tiny_gguf({});
  const auto before = load_bytes(bytes).value();
  bytes.back() ^= std::byte{1};
  const auto after = load_bytes(bytes).value();
  EXPECT_NE(before->model_hash, after->model_hash);
  EXPECT_NE(before->numerics_id, after->numerics_id);
}

TEST(Summary, SaysWhatLoadingWillTake) {
  for (const char* arch : known_architectures()) {
    TinyModelSpec spec;
    spec.arch = arch;
    const std::vector<std::byte> bytes = make_tiny_gguf(spec);
    const TensorIndex index = formats::parse_gguf(bytes).value();
    const Result<ModelSummary> summary = summarise(index);
    ASSERT_TRUE(summary.ok()) << summary.status().message();
    const auto model = load_model(index, {}).value();
    EXPECT_EQ(summary.value().name, "tiny");
    EXPECT_EQ(summary.value().architecture, arch);
    EXPECT_EQ(summary.value().quantisation, "Q4_1");
    EXPECT_EQ(summary.value().weight_bytes, model->weight_bytes);
    EXPECT_EQ(summary.value().layers.size(), model->layers.size());
    const kernels::KvTileLayout layout = model->kv_layout(64);
    EXPECT_EQ(summary.value().kv_bytes_per_token * 64, layout.block_bytes());
    uint64_t num_parameters = 0;
    for (const TensorInfo& tensor : index.tensors) {
      uint64_t elements = 1;
      for (uint64_t dim : tensor.dims) {
        elements *= dim;
      }
      num_parameters += elements;
    }
    EXPECT_EQ(summary.value().num_parameters, num_parameters);
  }
}

}  // namespace
}  // namespace stet::model
