#include "src/executor/cpu/step_buffers.h"

#include <initializer_list>

namespace stet::executor {
namespace {

using kernels::round_up;
using model::Slot;

// Rows a multiple of 4 KiB apart fall into the same few sets of L1: one cache line more spreads
// them.
size_t row_stride(uint32_t columns) {
  const uint32_t ld = round_up(columns, kernels::kPanel);
  return ld % 1024 == 0 ? ld + 16 : ld;
}

}  // namespace

uint64_t StepBuffers::lay_out(const model::HyperParams& hyper, uint32_t max_rows,
                              uint32_t max_sample_rows, Arena* arena) {
  uint64_t total = 0;
  auto piece = [&](auto*& pointer, uint64_t count) {
    using T = std::remove_reference_t<decltype(*pointer)>;
    total += Arena::padded(count * sizeof(T));
    if (arena != nullptr) {
      pointer = arena->template take<T>(count);
    }
  };
  auto floats = [&](Slot slot, uint32_t rows, std::initializer_list<uint32_t> parts) {
    FloatRows& out = floats_[static_cast<size_t>(slot)];
    uint32_t columns = 0, i = 0;
    for (uint32_t part : parts) {
      out.part[i++] = columns;
      columns += round_up(part, kernels::kPanel);
    }
    out.ld = row_stride(columns);
    piece(out.data, rows * out.ld);
  };
  auto input = [&](Slot slot, uint32_t rows, uint32_t k) {
    kernels::LinearInput& in = inputs_[static_cast<size_t>(slot)];
    in.k = k;
    in.ldk = round_up(k, 64);
    in.ldg = round_up((k + kernels::kGroup - 1) / kernels::kGroup, 16);
    piece(in.q, uint64_t{rows} * in.ldk);
    piece(in.s, uint64_t{rows} * in.ldg);
    piece(in.t, uint64_t{rows} * in.ldg);
    piece(in.a, uint64_t{rows} * in.ldg);
    piece(in.x, uint64_t{rows} * in.ldk);
    piece(in.xo, uint64_t{rows} * kernels::kMaxOutliers);
  };
  const uint32_t q_width = hyper.num_heads * hyper.head_dim;
  const uint32_t kv_width = hyper.num_kv_heads * hyper.head_dim;
  floats(Slot::kHidden, max_rows, {hyper.width});
  floats(Slot::kBranch, max_rows, {hyper.width});
  floats(Slot::kQkv, max_rows, {q_width, kv_width, kv_width});
  floats(Slot::kAttention, max_rows, {q_width});
  floats(Slot::kGateUp, max_rows, {hyper.ffn_width, hyper.ffn_width});
  input(Slot::kNormed, max_rows, hyper.width);
  input(Slot::kAttentionIn, max_rows, q_width);
  input(Slot::kGated, max_rows, hyper.ffn_width);
  q_ld = round_up(q_width, 32);
  piece(q_bf16, max_rows * q_ld);
  floats(Slot::kSampleHidden, max_sample_rows, {hyper.width});
  input(Slot::kSampleNormed, max_sample_rows, hyper.width);
  floats(Slot::kLogits, max_sample_rows, {hyper.vocab_size});
  return total;
}

uint64_t StepBuffers::bytes(const model::HyperParams& hyper, uint32_t max_rows,
                            uint32_t max_sample_rows) {
  return StepBuffers().lay_out(hyper, max_rows, max_sample_rows, nullptr);
}

Result<StepBuffers> StepBuffers::allocate(const model::HyperParams& hyper, uint32_t max_rows,
                                          uint32_t max_sample_rows) {
  StepBuffers buffers;
  STET_ASSIGN_OR_RETURN(buffers.arena_, Arena::map(bytes(hyper, max_rows, max_sample_rows),
                                                   "the step's row buffers"));
  buffers.lay_out(hyper, max_rows, max_sample_rows, &buffers.arena_);
  return buffers;
}

kernels::LinearInput StepBuffers::input(Slot slot, bool needs_q, bool needs_x) const {
  kernels::LinearInput in = inputs_[static_cast<size_t>(slot)];
  if (!needs_q) {
    in.q = nullptr;
    in.s = in.t = nullptr;
    in.a = nullptr;
  }
  if (!needs_x) {
    in.x = nullptr;
  }
  return in;
}

}  // namespace stet::executor
