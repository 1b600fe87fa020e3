// Rope tables: computed in double at load and rounded once (C6).
#pragma once

#include <cstdint>
#include <span>

#include "stet/model/model.h"

namespace stet::model {

uint64_t rope_table_bytes(const HyperParams& hyper);
// Sizes the table; fill_rope_rows then fills positions [begin, end), disjoint ranges from any
// thread. `factors`: the frequency of each pair is divided by its own (Llama 3.1's scaling); empty
// for none.
RopeTable make_rope_table(const HyperParams& hyper);
void fill_rope_rows(const HyperParams& hyper, double base, std::span<const float> factors,
                    uint32_t begin, uint32_t end, RopeTable* table);

}  // namespace stet::model
