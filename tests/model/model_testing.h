// What the tests of this folder share.
#pragma once

#include <string>
#include <vector>

#include "stet/formats/tensor_index.h"
#include "stet/model/model.h"
#include "tests/support/tiny_gguf.h"

namespace stet::model {

// Parses and loads bytes that stay alive only as long as the call: a loaded model needs no file.
inline Result<std::shared_ptr<const Model>> load_bytes(const std::vector<std::byte>& bytes,
                                                       uint32_t num_threads = 1) {
  STET_ASSIGN_OR_RETURN(const formats::TensorIndex index, formats::parse_gguf(bytes));
  return load_model(index, LoadOptions{.num_threads = num_threads, .progress = {}});
}

inline Result<std::shared_ptr<const Model>> load_tiny(const stet::testing::TinyModelSpec& spec,
                                                      uint32_t num_threads = 1) {
  return load_bytes(stet::testing::make_tiny_gguf(spec), num_threads);
}

}  // namespace stet::model
