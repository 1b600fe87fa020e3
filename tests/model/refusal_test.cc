// What this build does not compute exactly is refused, and the message says what it was and where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "tests/model/model_testing.h"
#include "tests/support/quantise.h"

namespace stet::model {
namespace {

using formats::TensorType;
using stet::testing::GgufFile;
using stet::testing::make_tiny_gguf_file;
using stet::testing::TinyModelSpec;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string refusal(const std::vector<std::byte>& bytes) {
  const Result<formats::TensorIndex> index = formats::parse_gguf(bytes);
  EXPECT_TRUE(index.ok()) << index.status().message();
  const auto model = load_model(index.value(), {});
  EXPECT_FALSE(model.ok());
  EXPECT_EQ(model.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(model.status().message(), Not(HasSubstr("\n")));
  return model.status().message();
}

std::string refusal_of(const char* arch, std::string_view field, uint64_t value) {
  TinyModelSpec spec;
  spec.arch = arch;
  GgufFile file = make_tiny_gguf_file(spec);
  poke(&file.bytes, file.field(field), value);
  return refusal(file.bytes);
}

// Replaces `from` by `to` of the same length in the header, where it occurs first.
std::string refusal_renamed(TinyModelSpec spec, std::string_view from, std::string_view to) {
  GgufFile file = make_tiny_gguf_file(spec);
  std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.header_bytes);
  const size_t at = text.find(from);
  EXPECT_TRUE(at != std::string_view::npos && from.size() == to.size());
  std::memcpy(file.bytes.data() + at, to.data(), to.size());
  return refusal(file.bytes);
}

// A tiny file written anew with one more key or tensor.
template <class Add>
std::string refusal_with(Add add, const char* arch = "llama") {
  TinyModelSpec spec;
  spec.arch = arch;
  const std::vector<std::byte> bytes = stet::testing::make_tiny_gguf(spec);
  const formats::TensorIndex index = formats::parse_gguf(bytes).value();
  stet::testing::GgufWriter writer;
  for (const auto& [key, value] : index.metadata) {
    if (const auto* scalar = std::get_if<formats::MetaScalar>(&value.value)) {
      if (const auto* number = std::get_if<uint64_t>(scalar)) {
        writer.add_u32(key, static_cast<uint32_t>(*number));
      } else if (const auto* real = std::get_if<double>(scalar)) {
        writer.add_f32(key, static_cast<float>(*real));
      } else if (const auto* text = std::get_if<std::string>(scalar)) {
        writer.add_string(key, *text);
      }
    }
  }
  for (const formats::TensorInfo& tensor : index.tensors) {
    writer.add_tensor(tensor.name, tensor.dims, tensor.type,
                      {tensor.bytes.begin(), tensor.bytes.end()});
  }
  add(&writer);
  return refusal(writer.build().bytes);
}

TEST(Refusal, UnknownArchitecturesAreNamed) {
  const std::string message = refusal_renamed({}, "llama", "mamba");
  EXPECT_THAT(message,
              AllOf(HasSubstr("metadata 'general.architecture' at offset"),
                    HasSubstr("found 'mamba'"), HasSubstr("expected one of: llama gemma3 qwen2 qwen3")));
}

TEST(Refusal, RopeScalingIsNamed) {
  EXPECT_THAT(refusal_with([](auto* w) { w->add_string("llama.rope.scaling.type", "yarn"); }),
              AllOf(HasSubstr("'llama.rope.scaling.type' at offset"), HasSubstr("found 'yarn'")));
  EXPECT_THAT(refusal_with([](auto* w) { w->add_f32("llama.rope.scaling.factor", 8.0f); }),
              HasSubstr("'llama.rope.scaling.factor'"));
  EXPECT_THAT(refusal_with([](auto* w) {
                w->add_tensor("rope_factors_long.weight", {8}, TensorType::kF32,
                              std::vector<std::byte>(32));
              }),
              HasSubstr("tensor 'rope_factors_long.weight' (offset"));
}

TEST(Refusal, RopeFactorsAreOnePositiveFloatPerPair) {
  const auto with = [](uint64_t num, TensorType type, float value) {
    return refusal_with([=](auto* w) {
      w->add_tensor("rope_freqs.weight", {num}, type,
                    stet::testing::quantise(type, std::vector<float>(num, value)));
    });
  };
  EXPECT_THAT(with(8, TensorType::kF32, 0.0f),
              AllOf(HasSubstr("tensor 'rope_freqs.weight' (offset"),
                    HasSubstr("element 0 is 0.000000, expected more than 0")));
  EXPECT_THAT(with(8, TensorType::kF32, -1.0f), HasSubstr("expected more than 0"));
  EXPECT_THAT(with(8, TensorType::kF32, std::numeric_limits<float>::infinity()),
              HasSubstr("element 0 is inf"));
  EXPECT_THAT(with(7, TensorType::kF32, 1.0f), HasSubstr("found dims [7], expected [8]"));
  EXPECT_THAT(with(8, TensorType::kF16, 1.0f), HasSubstr("found type F16, expected F32"));
}

TEST(Refusal, RopeScalingOfTypeNoneIsNone) {
  TinyModelSpec spec;
  const std::vector<std::byte> bytes = stet::testing::make_tiny_gguf(spec);
  const auto plain = load_bytes(bytes);
  ASSERT_TRUE(plain.ok());
  // refusal_with would fail here if the file were refused for anything but the tensor.
  EXPECT_THAT(refusal_with([](auto* w) {
                w->add_string("llama.rope.scaling.type", "none");
                w->add_tensor("extra.weight", {8}, TensorType::kF32, std::vector<std::byte>(32));
              }),
              HasSubstr("extra.weight"));
}

TEST(Refusal, UnknownParametersOfTheArchitectureAreNamed) {
  EXPECT_THAT(refusal_with([](auto* w) { w->add_u32("llama.expert_count", 8); }),
              AllOf(HasSubstr("'llama.expert_count' at offset"), HasSubstr("does not know")));
  EXPECT_THAT(refusal_with([](auto* w) { w->add_f32("llama.logit_scale", 2.0f); }),
              HasSubstr("'llama.logit_scale'"));
}

TEST(Refusal, TensorsTooManyAndTooFewAreNamed) {
  EXPECT_THAT(refusal_with([](auto* w) {
                w->add_tensor("blk.0.attn_q_norm.weight", {16}, TensorType::kF32,
                              std::vector<std::byte>(64));
              }),
              AllOf(HasSubstr("tensor 'blk.0.attn_q_norm.weight' (offset"),
                    HasSubstr("not part of architecture 'llama'")));
  EXPECT_THAT(refusal_of("llama", "value of llama.block_count", 4),
              HasSubstr("tensor 'blk.3.attn_norm.weight' is missing"));
  EXPECT_THAT(refusal_of("llama", "value of llama.block_count", 2),
              HasSubstr("tensor 'blk.2.attn_norm.weight' (offset"));
}

TEST(Refusal, ShapesAreExactlyThoseTheArchitectureNeeds) {
  EXPECT_THAT(
      refusal_of("llama", "value of llama.embedding_length", 96),
      AllOf(HasSubstr("token_embd.weight"), HasSubstr("found dims [64, 400], expected [96, 400]")));
  EXPECT_THAT(refusal_of("llama", "value of llama.feed_forward_length", 256),
              HasSubstr("expected [64, 256]"));
}

TEST(Refusal, HyperParametersStayInRangeAndAgree) {
  EXPECT_THAT(refusal_of("llama", "value of llama.block_count", 0),
              HasSubstr("found 0, expected 1..1024"));
  EXPECT_THAT(refusal_of("llama", "value of llama.context_length", 1u << 31),
              HasSubstr("expected 2..1048576"));
  EXPECT_THAT(refusal_of("llama", "value of llama.context_length", 1), HasSubstr("found 1,"));
  EXPECT_THAT(refusal_of("llama", "value of llama.attention.head_count_kv", 3),
              HasSubstr("a divisor of the 4 query heads"));
  EXPECT_THAT(refusal_of("llama", "value of llama.attention.head_count_kv", 8),
              HasSubstr("expected 1..4"));
  EXPECT_THAT(refusal_of("llama", "value of llama.attention.key_length", 24),
              HasSubstr("a multiple of 16"));
  EXPECT_THAT(refusal_of("llama", "value of llama.attention.value_length", 32),
              HasSubstr("the key length 16"));
  EXPECT_THAT(refusal_of("llama", "value of llama.rope.dimension_count", 15),
              HasSubstr("an even number"));
  EXPECT_THAT(refusal_of("llama", "value of llama.rope.dimension_count", 18),
              HasSubstr("expected 2..16"));
  EXPECT_THAT(refusal_of("llama", "value of llama.vocab_size", 401),
              HasSubstr("the rows of 'token_embd.weight'"));
  EXPECT_THAT(refusal_of("llama", "value of llama.embedding_length", 65),
              HasSubstr("a multiple of 32"));
  const uint32_t nan = 0x7FC00000;
  EXPECT_THAT(refusal_of("llama", "value of llama.rope.freq_base", nan), HasSubstr("found nan"));
  EXPECT_THAT(refusal_of("llama", "value of llama.attention.layer_norm_rms_epsilon", 0),
              HasSubstr("found 0,"));
  EXPECT_THAT(refusal_of("llama", "value of general.quantization_version", 1),
              HasSubstr("found 1, expected 2"));
}

TEST(Refusal, TheTokenListIsAsLongAsTheEmbedding) {
  TinyModelSpec spec;
  spec.arch = "gemma3";  // has no vocab_size key that would disagree first
  GgufFile file = make_tiny_gguf_file(spec);
  poke(&file.bytes, file.field("dim 1 of token_embd.weight"), 399);
  EXPECT_THAT(refusal(file.bytes), HasSubstr("found 400 tokens, expected 399"));
}

TEST(Refusal, SoftCappedLogitsAreNamed) {
  const auto add_cap = [](float cap) {
    return [cap](auto* w) { w->add_f32("gemma3.final_logit_softcapping", cap); };
  };
  EXPECT_THAT(refusal_with(add_cap(30.0f), "gemma3"),
              HasSubstr("'gemma3.final_logit_softcapping' at offset"));
  EXPECT_THAT(refusal_with(
                  [&](auto* w) {
                    add_cap(0.0f)(w);  // none: the next reason is the first
                    w->add_u32("gemma3.unheard_of", 1);
                  },
                  "gemma3"),
              HasSubstr("'gemma3.unheard_of'"));
}

TEST(Refusal, ALongContextOfASmallModelIsRefusedBeforeItsTablesAreMade) {
  TinyModelSpec spec;
  spec.arch = "gemma3";
  spec.head_dim = 256;
  spec.context = 1u << 20;
  spec.num_layers = 1;
  const auto model = load_tiny(spec);
  ASSERT_FALSE(model.ok());
  EXPECT_THAT(model.status().message(),
              HasSubstr("bytes of rope tables, expected at most 134217728"));
}

TEST(Refusal, NumbersThatAreNotFiniteNameTheirTensor) {
  GgufFile file = make_tiny_gguf_file({});
  const formats::TensorIndex index = formats::parse_gguf(file.bytes).value();
  for (const char* name : {"blk.1.attn_k.weight", "blk.2.ffn_norm.weight", "token_embd.weight"}) {
    const formats::TensorInfo& tensor = *index.find(name);
    std::vector<std::byte> bytes = file.bytes;
    // All ones: NaN as f32, and as the f16 scale of a block.
    std::fill_n(bytes.begin() +
                    static_cast<ptrdiff_t>(tensor.file_offset + tensor.bytes.size() / 4 / 20 * 20),
                4, std::byte{0xFF});
    if (tensor.type == TensorType::kQ8_0) {
      std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(tensor.file_offset), 2, std::byte{0xFF});
    }
    EXPECT_THAT(refusal(bytes), AllOf(HasSubstr(name), HasSubstr("not finite"))) << name;
  }
}

TEST(Refusal, NormsOfAQuantisedTypeAreRefused) {
  TinyModelSpec spec;
  GgufFile file = make_tiny_gguf_file(spec);
  poke(&file.bytes, file.field("tensor type of output_norm.weight"), 8);
  EXPECT_THAT(refusal(file.bytes), HasSubstr("found type Q8_0, expected F32, F16 or BF16"));
}

}  // namespace
}  // namespace stet::model
