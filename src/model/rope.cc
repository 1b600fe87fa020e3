#include "src/model/rope.h"

#include <cmath>
#include <vector>

namespace stet::model {

uint64_t rope_table_bytes(const HyperParams& hyper) {
  return uint64_t{2} * sizeof(float) * hyper.context_len * (hyper.rope_dim / 2);
}

RopeTable make_rope_table(const HyperParams& hyper) {
  const size_t num_values = size_t{hyper.context_len} * (hyper.rope_dim / 2);
  return {.cos = std::vector<float>(num_values), .sin = std::vector<float>(num_values)};
}

// angle(pos, i) = pos * base^(-2i / rope_dim), pair i of rope_dim/2. RoFormer (2021), sec. 3.2.2.
void fill_rope_rows(const HyperParams& hyper, double base, std::span<const float> factors,
                    uint32_t begin, uint32_t end, RopeTable* table) {
  const uint32_t num_pairs = hyper.rope_dim / 2;
  std::vector<double> frequency(num_pairs);
  for (uint32_t i = 0; i < num_pairs; ++i) {
    frequency[i] = std::pow(base, -2.0 * i / hyper.rope_dim) / (factors.empty() ? 1.0 : factors[i]);
  }
  for (uint32_t pos = begin; pos < end; ++pos) {
    for (uint32_t i = 0; i < num_pairs; ++i) {
      const double angle = pos * frequency[i];
      const size_t at = size_t{pos} * num_pairs + i;
      table->cos[at] = static_cast<float>(std::cos(angle));
      table->sin[at] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace stet::model
