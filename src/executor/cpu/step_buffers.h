// Row buffers of a step, sized once. One arena; every row starts on a cache line.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "src/executor/cpu/arena.h"
#include "stet/kernels/types.h"
#include "stet/model/model.h"
#include "stet/model/recipe.h"

namespace stet::executor {

// Head and sampling go over the sampling rows in passes of this many: logits are the widest rows,
// and beyond 64 rows the head's weights are read from cache anyway.
inline constexpr uint32_t kMaxSampleRowsPerPass = 64;

// f32 rows of one slot; parts of kQkv and kGateUp start at multiples of 32 columns.
struct FloatRows {
  float* data = nullptr;
  size_t ld = 0;                   // elements between rows
  std::array<uint32_t, 3> part{};  // first column of each part
  float* row(uint32_t i) const { return data + i * ld; }
};

// Owned by the step thread; rows are written by the pool's threads.
class StepBuffers {
 public:
  static Result<StepBuffers> allocate(const model::HyperParams& hyper, uint32_t max_rows,
                                      uint32_t max_sample_rows);
  static uint64_t bytes(const model::HyperParams& hyper, uint32_t max_rows,
                        uint32_t max_sample_rows);

  const FloatRows& floats(model::Slot slot) const { return floats_[static_cast<size_t>(slot)]; }
  // The slot's rows with the forms that are asked for; the other pointers are null.
  kernels::LinearInput input(model::Slot slot, bool needs_q, bool needs_x) const;

  uint16_t* q_bf16 = nullptr;  // [rows][q_ld], scaled and roped queries
  size_t q_ld = 0;

 private:
  // With a null arena it only counts bytes.
  uint64_t lay_out(const model::HyperParams& hyper, uint32_t max_rows, uint32_t max_sample_rows,
                   Arena* arena);

  static constexpr size_t kNumSlots = static_cast<size_t>(model::Slot::kLogits) + 1;
  std::array<FloatRows, kNumSlots> floats_{};
  std::array<kernels::LinearInput, kNumSlots> inputs_{};
  Arena arena_;
};

}  // namespace stet::executor
