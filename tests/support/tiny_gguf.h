// Tiny seeded models as GGUF files: every architecture and weight type, small enough to run
// thousands of times. The same spec gives the same bytes on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "stet/formats/tensor_index.h"
#include "tests/support/gguf_writer.h"

namespace stet::testing {

struct TinyModelSpec {
  std::string arch = "llama";  // or "gemma3", "qwen2", "qwen3"
  uint64_t seed = 1;
  uint32_t num_layers = 0;  // 0: 3; gemma3: 7, so that both kinds of layers occur
  uint32_t width = 64;
  uint32_t ffn = 128;
  uint32_t heads = 4;
  uint32_t kv_heads = 2;
  uint32_t head_dim = 16;
  uint32_t vocab = 400;  // 259 at least; sentencepiece: 275
  uint32_t context = 2048;
  uint32_t window = 70;  // gemma3's sliding layers
  formats::TensorType weight_type = formats::TensorType::kQ4_1;
  formats::TensorType embedding_type = formats::TensorType::kQ8_0;
  formats::TensorType head_type = formats::TensorType::kQ8_0;  // of output.weight, if not tied
  bool tied = true;
  bool biases = false;              // llama: attn_{q,k,v,output}.bias
  std::vector<float> rope_factors;  // llama: rope_freqs.weight, head_dim / 2 of them; empty: none
  std::string pre_tokenizer = "smollm";
  bool sentencepiece = false;  // pieces instead of byte-level BPE, and no chat template
  std::string name = "tiny";
  uint32_t version = 3;
};

GgufFile make_tiny_gguf_file(
    const TinyModelSpec& spec);  // with field positions, for tests of bad input
std::vector<std::byte> make_tiny_gguf(const TinyModelSpec& spec);  // the bytes alone

}  // namespace stet::testing
