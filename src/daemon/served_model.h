// From a model file's metadata to what the server serves: tokenizer, chat template, names,
// fingerprint.
#pragma once

#include <memory>
#include <string>

#include "stet/base/status.h"
#include "stet/formats/tensor_index.h"
#include "stet/model/model.h"
#include "stet/server/service.h"
#include "stet/text/tokenizer.h"

namespace stet::daemon {

// tokenizer.ggml.* -> plain data. Errors name the key and its offset.
Result<text::TokenizerSpec> tokenizer_spec(const formats::TensorIndex& index);

// Configured id, else the file's stem with what ids may not hold replaced by '_'.
std::string served_model_id(const std::string& configured_id, const std::string& path);

// "stet-<numerics id>-<8 hex of tokenizer, template and sampler version>".
std::string fingerprint_of(const model::Model& model, const text::Tokenizer& tokenizer,
                           const text::ChatTemplate& chat_template);

struct TextParts {
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const text::ChatTemplate> chat_template;
  bool default_template = false;  // the file has none
};
Result<TextParts> read_text_parts(const formats::TensorIndex& index);

}  // namespace stet::daemon
