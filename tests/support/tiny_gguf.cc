#include "tests/support/tiny_gguf.h"

#include <cmath>

#include "stet/base/check.h"
#include "tests/support/quantise.h"
#include "tests/support/tiny_vocabulary.h"

namespace stet::testing {
namespace {

using formats::TensorType;

constexpr char kChatTemplate[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + "
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// Seeded values without libm, so that files are equal everywhere. One stream per tensor name.
class Random {
 public:
  Random(uint64_t seed, const std::string& name) : state_(seed * 0x9E3779B97F4A7C15u + 1) {
    for (char c : name) {
      state_ = (state_ ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
    }
  }
  // Mean 0, variance 1: the sum of twelve uniforms less six.
  float normal() {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) {
      sum += static_cast<double>(next() >> 11) * 0x1p-53;
    }
    return static_cast<float>(sum);
  }

 private:
  uint64_t next() {  // splitmix64
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  uint64_t state_;
};

class Builder {
 public:
  explicit Builder(const TinyModelSpec& spec)
      : spec_(spec), gemma_(spec.arch == "gemma3"), writer_(spec.version) {
    STET_CHECK(gemma_ || spec.arch == "llama" || spec.arch == "qwen2" || spec.arch == "qwen3",
               "tiny models are of the known architectures");
    num_layers_ = spec.num_layers != 0 ? spec.num_layers : (gemma_ ? 7 : 3);
  }

  GgufFile build() {
    add_hyper_params();
    add_tokenizer();
    add_tensors();
    return writer_.build();
  }

 private:
  void add_hyper_params() {
    const std::string prefix = spec_.arch + ".";
    writer_.add_string("general.architecture", spec_.arch);
    writer_.add_string("general.name", spec_.name);
    writer_.add_u32("general.quantization_version", 2);
    writer_.add_u32(prefix + "block_count", num_layers_);
    writer_.add_u32(prefix + "context_length", spec_.context);
    writer_.add_u32(prefix + "embedding_length", spec_.width);
    writer_.add_u32(prefix + "feed_forward_length", spec_.ffn);
    writer_.add_u32(prefix + "attention.head_count", spec_.heads);
    writer_.add_u32(prefix + "attention.head_count_kv", spec_.kv_heads);
    writer_.add_u32(prefix + "attention.key_length", spec_.head_dim);
    writer_.add_u32(prefix + "attention.value_length", spec_.head_dim);
    writer_.add_f32(prefix + "attention.layer_norm_rms_epsilon", gemma_ ? 1e-6f : 1e-5f);
    writer_.add_f32(prefix + "rope.freq_base", gemma_ ? 1000000.0f : 10000.0f);
    if (gemma_) {
      writer_.add_u32(prefix + "attention.sliding_window", spec_.window);
    } else {
      writer_.add_u32(prefix + "rope.dimension_count", spec_.head_dim);
      writer_.add_u32(prefix + "vocab_size", spec_.vocab);
    }
  }

  void add_pieces() {
    const TinyPieces pieces = make_tiny_pieces(spec_.vocab);
    writer_.add_string("tokenizer.ggml.model", "llama");
    writer_.add_string("tokenizer.ggml.pre", "default");
    writer_.add_strings("tokenizer.ggml.tokens", pieces.tokens);
    writer_.add_f32s("tokenizer.ggml.scores", pieces.scores);
    writer_.add_i32s("tokenizer.ggml.token_type", pieces.types);
    writer_.add_u32("tokenizer.ggml.bos_token_id", 1);
    writer_.add_u32("tokenizer.ggml.eos_token_id", 2);
    writer_.add_u32("tokenizer.ggml.unknown_token_id", 0);
    writer_.add_bool("tokenizer.ggml.add_space_prefix", false);
  }

  void add_tokenizer() {
    if (spec_.sentencepiece) {
      add_pieces();
      return;
    }
    const TinyVocabulary vocabulary = make_tiny_vocabulary(spec_.vocab);
    writer_.add_string("tokenizer.ggml.model", "gpt2");
    writer_.add_string("tokenizer.ggml.pre", spec_.pre_tokenizer);
    writer_.add_strings("tokenizer.ggml.tokens", vocabulary.tokens);
    writer_.add_i32s("tokenizer.ggml.token_type", vocabulary.types);
    writer_.add_strings("tokenizer.ggml.merges", vocabulary.merges);
    writer_.add_u32("tokenizer.ggml.bos_token_id", 1);
    writer_.add_u32("tokenizer.ggml.eos_token_id", 2);
    writer_.add_u32("tokenizer.ggml.unknown_token_id", 0);
    writer_.add_bool("tokenizer.ggml.add_bos_token", false);
    writer_.add_string("tokenizer.chat_template", kChatTemplate);
  }

  // n rows of k weights with standard deviation gain / sqrt(k): rows of unit scale stay of unit
  // scale.
  void add_matrix(const std::string& name, TensorType type, uint32_t k, uint32_t n,
                  float deviation) {
    Random random(spec_.seed, name);
    std::vector<float> values(size_t{k} * n);
    for (float& value : values) {
      value = deviation * random.normal();
    }
    writer_.add_tensor(name, {k, n}, type, quantise(type, values));
  }
  void add_linear(const std::string& name, uint32_t k, uint32_t n, float gain) {
    add_matrix(name, spec_.weight_type, k, n, gain / std::sqrt(static_cast<float>(k)));
  }

  void add_vector(const std::string& name, uint32_t k, float mean, float deviation) {
    Random random(spec_.seed, name);
    std::vector<float> values(k);
    for (float& value : values) {
      value = mean + deviation * random.normal();
    }
    writer_.add_tensor(name, {k}, TensorType::kF32, quantise(TensorType::kF32, values));
  }

  // Scales are chosen so that the branches outweigh the embedding in the residual (else a tied head
  // repeats its input) and so that attention and sampling are neither flat nor one-hot.
  void add_tensors() {
    const float embedding_deviation =
        gemma_ ? 1.0f / std::sqrt(static_cast<float>(spec_.width)) : 0.3f;
    add_matrix("token_embd.weight", spec_.embedding_type, spec_.width, spec_.vocab,
               embedding_deviation);
    add_vector("output_norm.weight", spec_.width, gemma_ ? 3.0f : 1.2f, 0.1f);
    if (!spec_.rope_factors.empty()) {
      writer_.add_tensor("rope_freqs.weight", {spec_.rope_factors.size()}, TensorType::kF32,
                         quantise(TensorType::kF32, spec_.rope_factors));
    }
    if (!spec_.tied) {
      add_matrix("output.weight", spec_.head_type, spec_.width, spec_.vocab, 0.35f);
    }
    for (uint32_t layer = 0; layer < num_layers_; ++layer) {
      add_layer("blk." + std::to_string(layer) + ".");
    }
  }

  void add_layer(const std::string& prefix) {
    const uint32_t q = spec_.heads * spec_.head_dim;
    const uint32_t kv = spec_.kv_heads * spec_.head_dim;
    add_vector(prefix + "attn_norm.weight", spec_.width, 1.0f, 0.1f);
    add_linear(prefix + "attn_q.weight", spec_.width, q, 1.6f);
    add_linear(prefix + "attn_k.weight", spec_.width, kv, 1.6f);
    add_linear(prefix + "attn_v.weight", spec_.width, kv, 1.5f);
    if (spec_.biases) {
      add_vector(prefix + "attn_q.bias", q, 0.0f, 0.3f);
      add_vector(prefix + "attn_k.bias", kv, 0.0f, 0.3f);
      add_vector(prefix + "attn_v.bias", kv, 0.0f, 0.3f);
      add_vector(prefix + "attn_output.bias", spec_.width, 0.0f, 0.3f);
    }
    if (spec_.arch == "qwen2") {
      add_vector(prefix + "attn_q.bias", q, 0.0f, 0.3f);
      add_vector(prefix + "attn_k.bias", kv, 0.0f, 0.3f);
      add_vector(prefix + "attn_v.bias", kv, 0.0f, 0.3f);
    }
    if (gemma_ || spec_.arch == "qwen3") {
      add_vector(prefix + "attn_q_norm.weight", spec_.head_dim, 1.5f, 0.1f);
      add_vector(prefix + "attn_k_norm.weight", spec_.head_dim, 1.5f, 0.1f);
    }
    if (gemma_) {
      add_vector(prefix + "post_attention_norm.weight", spec_.width, 2.0f, 0.2f);
    }
    add_linear(prefix + "attn_output.weight", q, spec_.width, 3.0f);
    add_vector(prefix + "ffn_norm.weight", spec_.width, 1.0f, 0.1f);
    add_linear(prefix + "ffn_gate.weight", spec_.width, spec_.ffn, 1.5f);
    add_linear(prefix + "ffn_up.weight", spec_.width, spec_.ffn, 1.5f);
    add_linear(prefix + "ffn_down.weight", spec_.ffn, spec_.width, 2.5f);
    if (gemma_) {
      add_vector(prefix + "post_ffw_norm.weight", spec_.width, 2.0f, 0.2f);
    }
  }

  const TinyModelSpec& spec_;
  const bool gemma_;
  uint32_t num_layers_ = 0;
  GgufWriter writer_;
};

}  // namespace

GgufFile make_tiny_gguf_file(const TinyModelSpec& spec) {
  return Builder(spec).build();
}

std::vector<std::byte> make_tiny_gguf(const TinyModelSpec& spec) {
  return make_tiny_gguf_file(spec).bytes;
}

}  // namespace stet::testing
