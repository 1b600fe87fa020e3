// Floats to the bytes of a GGUF tensor: plain round-to-nearest quantisers, good enough for test
// models.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "stet/formats/tensor_index.h"

namespace stet::testing {

uint16_t float_to_f16(float value);  // nearest even; overflow gives infinity
uint16_t float_to_bf16(float value);

// `values` is rows of a multiple of the type's block, one after another.
std::vector<std::byte> quantise(formats::TensorType type, std::span<const float> values);

}  // namespace stet::testing
