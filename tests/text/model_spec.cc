#include "tests/text/model_spec.h"

#include "stet/base/check.h"

namespace stet::text {

TokenizerSpec model_spec(const formats::TensorIndex& index) {
  TokenizerSpec spec;
  spec.model = *index.get_string("tokenizer.ggml.model");
  spec.pre_tokenizer = *index.get_string("tokenizer.ggml.pre");
  const auto tokens = *index.get_strings("tokenizer.ggml.tokens");
  spec.tokens.assign(tokens.begin(), tokens.end());
  for (const int64_t kind : *index.get_ints("tokenizer.ggml.token_type")) {
    spec.kinds.push_back(static_cast<TokenKind>(kind));
  }
  if (index.has("tokenizer.ggml.merges")) {
    const auto merges = *index.get_strings("tokenizer.ggml.merges");
    spec.merges.assign(merges.begin(), merges.end());
  }
  if (const auto scores = index.metadata.find("tokenizer.ggml.scores");
      scores != index.metadata.end()) {
    const auto* numbers = std::get_if<std::vector<double>>(&scores->second.value);
    STET_CHECK(numbers != nullptr, "scores are floats");
    spec.scores.assign(numbers->begin(), numbers->end());
  }
  const auto id = [&index](const char* key) {
    return index.has(key) ? static_cast<int64_t>(*index.get_uint(key)) : int64_t{-1};
  };
  spec.bos_id = id("tokenizer.ggml.bos_token_id");
  spec.eos_id = id("tokenizer.ggml.eos_token_id");
  spec.unk_id = id("tokenizer.ggml.unknown_token_id");
  if (index.has("tokenizer.ggml.add_space_prefix")) {
    spec.add_space_prefix = *index.get_bool("tokenizer.ggml.add_space_prefix");
  }
  return spec;
}

}  // namespace stet::text
