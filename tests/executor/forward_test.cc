// The forward pass against a transcription of the contract, in bits.
#include <gtest/gtest.h>

#include "stet/sampling/sequence_sampler.h"
#include "tests/executor/naive_model.h"
#include "tests/executor/step_driver.h"

namespace stet::executor {
namespace {

using formats::TensorType;

struct Case {
  std::string name;
  testing::TinyModelSpec spec;
  uint32_t prompt_tokens = 70;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (auto [name, type] : {std::pair{"f32", TensorType::kF32},
                            {"f16", TensorType::kF16},
                            {"bf16", TensorType::kBF16},
                            {"q4_0", TensorType::kQ4_0},
                            {"q4_1", TensorType::kQ4_1},
                            {"q8_0", TensorType::kQ8_0},
                            {"q5_0", TensorType::kQ5_0},
                            {"q5_1", TensorType::kQ5_1},
                            {"q4_k", TensorType::kQ4_K},
                            {"q5_k", TensorType::kQ5_K},
                            {"q6_k", TensorType::kQ6_K},
                            {"q2_k", TensorType::kQ2_K},
                            {"q3_k", TensorType::kQ3_K},
                            {"iq4_nl", TensorType::kIQ4_NL}}) {
    Case c{std::string("llama_") + name, {}, 70};
    if (formats::block_format(type).elements == 256) {
      c.spec.width = c.spec.ffn = 256;
      c.spec.head_dim = 64;
    }
    c.spec.weight_type = type;
    c.spec.embedding_type = type;
    all.push_back(c);
  }
  Case untied{"llama_untied_biases", {}, 20};
  untied.spec.tied = false;
  untied.spec.biases = true;
  untied.spec.head_type = TensorType::kF16;
  all.push_back(untied);
  Case gemma{"gemma3_window", {}, 140};  // window 70: slides over two tile borders
  gemma.spec.arch = "gemma3";
  gemma.spec.kv_heads = 1;
  all.push_back(gemma);
  for (const char* arch : {"qwen2", "qwen3"}) {
    Case qwen{arch, {}, 70};
    qwen.spec.arch = arch;
    all.push_back(qwen);
  }
  Case segment{"llama_segments", {}, 516};
  segment.spec.num_layers = 1;
  all.push_back(segment);
  return all;
}

class ForwardTest : public ::testing::TestWithParam<Case> {};

// What the backend shows of one token, from naive logits.
TokenRecord record_of(const std::vector<float>& logits, sampling::SequenceSampler* sampler,
                      sampling::SamplerScratch* scratch) {
  sampling::Draw draw;
  EXPECT_TRUE(sampler->sample(*kernels::find_table("scalar"), logits.data(), scratch, &draw));
  TokenRecord record{draw.token_id, std::bit_cast<uint32_t>(draw.logprob), draw.rank, {}};
  for (uint32_t i = 0; i < draw.num_top; ++i) {
    record.top.emplace_back(draw.top[i].token_id, std::bit_cast<uint32_t>(draw.top[i].logprob));
  }
  return record;
}

TEST_P(ForwardTest, EqualsTheNaiveTranscriptionInBits) {
  const std::vector<std::byte> bytes = testing::make_tiny_gguf(GetParam().spec);
  const auto index = formats::parse_gguf(bytes);
  ASSERT_TRUE(index.ok()) << index.status().to_string();
  const auto model = model::load_model(*index, {});
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  const uint32_t vocab = (*model)->hyper.vocab_size;
  TestRequest request = make_request(vocab, GetParam().prompt_tokens, 6, 11);
  request.sampling.num_logprobs = 20;
  const Answer answer = run_alone(*model, request, {.num_threads = 2, .chunk = 37});
  ASSERT_EQ(answer.size(), 6u);

  kernels::set_float_environment();
  NaiveModel naive(**model, *index);
  NewSequence state;
  state.sampling = request.sampling;
  state.prompt_token_ids = request.prompt;
  sampling::SequenceSampler sampler(state, vocab);
  sampling::SamplerScratch scratch(vocab);
  std::vector<float> logits;
  for (uint32_t id : request.prompt) {
    logits = naive.append(id);
  }
  for (const TokenRecord& token : answer) {
    EXPECT_EQ(record_of(logits, &sampler, &scratch), token);
    logits = naive.append(token.token_id);
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, ForwardTest, ::testing::ValuesIn(cases()),
                         [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace stet::executor
