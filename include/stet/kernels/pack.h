// From file bytes to the packed layout, once at load. One layout serves every row count and
// instruction set.
#pragma once

#include "stet/kernels/types.h"

namespace stet::kernels {

// Bytes of one row of k weights in a GGUF file; 0 if k is no multiple of the type's block.
size_t file_row_bytes(WeightType type, uint32_t k);
size_t packed_bytes(WeightType type, uint32_t n, uint32_t k);  // a multiple of 64
// Packs panels [panel_begin, panel_end) of the [n][k] matrix at `file_rows` into `out` (the whole
// matrix's start). Thread-safe for disjoint panels. Returns false if a scale or minimum of these
// panels, or a weight of a float type, is not finite (the file is refused).
bool pack_panels(WeightType type, const std::byte* file_rows, uint32_t n, uint32_t k,
                 uint32_t panel_begin, uint32_t panel_end, std::byte* out);
// The exact weight w[row][col] rounded once to f32, read from file bytes: an oracle that knows
// nothing of the layout.
float file_weight(WeightType type, const std::byte* file_rows, uint32_t k, uint32_t row,
                  uint32_t col);

}  // namespace stet::kernels
