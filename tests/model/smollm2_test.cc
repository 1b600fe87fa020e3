// The default model as it is served. Needs the file: STET_TEST_MODEL or models/ of the source tree.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "stet/formats/tensor_index.h"
#include "stet/model/model.h"

namespace stet::model {
namespace {

std::string model_path() {
  const char* path = std::getenv("STET_TEST_MODEL");
  return path != nullptr ? path : STET_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

TEST(SmolLm2, LoadsWithTheSameIdentityOnAnyNumberOfThreads) {
  const Result<formats::TensorIndex> index = formats::open_gguf(model_path());
  ASSERT_TRUE(index.ok()) << index.status().message() << " (make run fetches the default model)";
  std::shared_ptr<const Model> models[2];
  for (uint32_t num_threads : {1u, 2u}) {
    const auto begin = std::chrono::steady_clock::now();
    Result<std::shared_ptr<const Model>> model =
        load_model(index.value(), {.num_threads = num_threads, .progress = {}});
    const auto took = std::chrono::steady_clock::now() - begin;
    ASSERT_TRUE(model.ok()) << model.status().message();
    RecordProperty(
        "load_ms_" + std::to_string(num_threads) + "_threads",
        static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
    models[num_threads - 1] = model.value();
  }
  EXPECT_EQ(models[0]->model_hash, models[1]->model_hash);
  EXPECT_EQ(models[0]->numerics_id, models[1]->numerics_id);

  const Model& model = *models[0];
  EXPECT_EQ(model.architecture, "llama");
  EXPECT_EQ(model.quantisation, "Q4_1");
  EXPECT_EQ(model.hyper.num_layers, 30u);
  EXPECT_EQ(model.hyper.width, 576u);
  EXPECT_EQ(model.hyper.num_heads, 9u);
  EXPECT_EQ(model.hyper.num_kv_heads, 3u);
  EXPECT_EQ(model.hyper.head_dim, 64u);
  EXPECT_EQ(model.hyper.vocab_size, 49152u);
  EXPECT_EQ(model.hyper.context_len, 8192u);
  EXPECT_TRUE(model.hyper.tied_head);
}

TEST(SmolLm2, SummaryGivesTheNumbersOfTheMemoryPlan) {
  const Result<formats::TensorIndex> index = formats::open_gguf(model_path());
  ASSERT_TRUE(index.ok()) << index.status().message() << " (make run fetches the default model)";
  const Result<ModelSummary> summary = summarise(index.value());
  ASSERT_TRUE(summary.ok()) << summary.status().message();
  EXPECT_EQ(summary.value().kv_bytes_per_token, 23040u);
  EXPECT_EQ(summary.value().num_parameters, 134515008u);
  EXPECT_GT(summary.value().weight_bytes, 90'000'000u);
  EXPECT_LT(summary.value().weight_bytes, 110'000'000u);
}

}  // namespace
}  // namespace stet::model
