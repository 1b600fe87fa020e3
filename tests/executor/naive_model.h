// A transcription of exactness.md for one sequence, written without the kernels and without their
// layouts: matrices are read from the file's bytes, the cache is a plain array. Slow, and equal to
// the backend in every bit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stet/formats/tensor_index.h"
#include "stet/model/model.h"

namespace stet::executor {

class NaiveModel {
 public:
  // Hyper-parameters, norms and rope tables come from `model`, matrices and biases from `index`;
  // both must outlive it.
  NaiveModel(const model::Model& model, const formats::TensorIndex& index);
  // Logits after the next token.
  std::vector<float> append(uint32_t token_id);

 private:
  using Row = std::vector<float>;
  struct LayerCache {
    std::vector<Row> k, v;  // per position: [kv_heads * head_dim], bf16 values
  };
  Row linear(const std::string& name, const Row& x) const;
  float weight(const formats::TensorInfo& tensor, uint32_t row, uint32_t col) const;
  Row attention_block(uint32_t layer, const Row& hidden);
  Row attend(uint32_t layer, const Row& q) const;
  Row ffn_block(uint32_t layer, const Row& hidden) const;
  void rope(uint32_t layer, float* head) const;

  const model::Model& model_;
  const formats::TensorIndex& index_;
  std::vector<LayerCache> cache_;
  uint32_t pos_ = 0;
};

}  // namespace stet::executor
