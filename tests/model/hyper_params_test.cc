// Hyper-parameters: what each architecture makes of a file, by its own rules.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/model/model_testing.h"

namespace stet::model {
namespace {

using stet::testing::TinyModelSpec;

TEST(HyperParams, LlamaReadsEveryField) {
  TinyModelSpec spec;
  spec.head_dim = 32;
  const auto model = load_tiny(spec).value();
  const HyperParams& hyper = model->hyper;
  EXPECT_EQ(hyper.num_layers, 3u);
  EXPECT_EQ(hyper.width, 64u);
  EXPECT_EQ(hyper.ffn_width, 128u);
  EXPECT_EQ(hyper.num_heads, 4u);
  EXPECT_EQ(hyper.num_kv_heads, 2u);
  EXPECT_EQ(hyper.head_dim, 32u);
  EXPECT_EQ(hyper.rope_dim, 32u);
  EXPECT_EQ(hyper.vocab_size, 400u);
  EXPECT_EQ(hyper.context_len, 2048u);
  EXPECT_EQ(hyper.norm_eps, 1e-5f);
  EXPECT_EQ(hyper.attention_scale, static_cast<float>(1.0 / std::sqrt(32.0)));
  EXPECT_EQ(hyper.embedding_scale, 1.0f);
  EXPECT_EQ(hyper.rope_style, kernels::RopeStyle::kAdjacent);
  EXPECT_EQ(hyper.gate, kernels::GateKind::kSilu);
  EXPECT_EQ(model->rope_tables.size(), 1u);
  for (const Layer& layer : model->layers) {
    EXPECT_EQ(layer.kind.window, 0u);
    EXPECT_EQ(layer.kind.rope_table, 0u);
  }
}

TEST(HyperParams, Gemma3HasFiveSlidingLayersThenAFullOne) {
  TinyModelSpec spec;
  spec.arch = "gemma3";
  spec.num_layers = 13;
  const auto model = load_tiny(spec).value();
  EXPECT_EQ(model->hyper.attention_scale, 0.25f);  // 1/sqrt(16)
  EXPECT_EQ(model->hyper.embedding_scale, 8.0f);   // sqrt(64)
  EXPECT_EQ(model->hyper.norm_eps, 1e-6f);
  EXPECT_EQ(model->hyper.rope_style, kernels::RopeStyle::kHalves);
  EXPECT_EQ(model->hyper.gate, kernels::GateKind::kGeluTanh);
  for (uint32_t i = 0; i < 13; ++i) {
    const bool full = i == 5 || i == 11;
    EXPECT_EQ(model->layers[i].kind.window, full ? 0u : 70u) << i;
    EXPECT_EQ(model->layers[i].kind.rope_table, full ? 0u : 1u) << i;
  }
}

TEST(HyperParams, Gemma3WithoutAWindowHasOneKindOfLayer) {
  TinyModelSpec spec;
  spec.arch = "gemma3";
  spec.window = 0;
  const auto model = load_tiny(spec).value();
  EXPECT_EQ(model->rope_tables.size(), 1u);
  for (const Layer& layer : model->layers) {
    EXPECT_EQ(layer.kind.window, 0u);
    EXPECT_EQ(layer.kind.rope_table, 0u);
  }
}

TEST(HyperParams, Gemma3Of62LayersScalesByWidthOverHeads) {
  TinyModelSpec spec;
  spec.arch = "gemma3";
  spec.head_dim = 32;
  spec.num_layers = 62;
  EXPECT_EQ(load_tiny(spec).value()->hyper.attention_scale, 0.25f);  // 1/sqrt(64 / 4)
  spec.num_layers = 61;
  EXPECT_EQ(load_tiny(spec).value()->hyper.attention_scale,
            static_cast<float>(1.0 / std::sqrt(32.0)));
}

TEST(HyperParams, TheKvLayoutIsThatOfTheContract) {
  const auto model = load_tiny({}).value();
  const kernels::KvTileLayout layout = model->kv_layout(128);
  EXPECT_EQ(layout.block_tokens, 128u);
  EXPECT_EQ(layout.block_bytes(),
            3u * 2 * 2 * 128 * 16 * 2);  // layers, kv heads, K and V, tokens, dims, bf16
}

}  // namespace
}  // namespace stet::model
