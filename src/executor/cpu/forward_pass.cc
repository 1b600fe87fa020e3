#include "src/executor/cpu/forward_pass.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "stet/base/check.h"

namespace stet::executor {
namespace {

using model::OpKind;
using model::Slot;

// Chunks per thread of a region: few enough that claiming does not count, many enough that a thread
// which lost its core leaves little behind.
constexpr uint32_t kChunksPerThread = 8;

uint32_t chunk_of(uint32_t num_items, uint32_t num_threads, uint32_t max_chunk) {
  return std::clamp(num_items / (kChunksPerThread * num_threads), 1u, max_chunk);
}

bool is_linear_input(Slot slot) {
  return slot == Slot::kNormed || slot == Slot::kAttentionIn || slot == Slot::kGated ||
         slot == Slot::kSampleNormed;
}

}  // namespace

uint64_t ForwardPass::bytes(const model::HyperParams& hyper, uint32_t num_threads,
                            uint32_t max_rows, uint32_t max_sample_rows) {
  return StepBuffers::bytes(hyper, max_rows, max_sample_rows) +
         AttentionStage::bytes(hyper, num_threads);
}

Result<std::unique_ptr<ForwardPass>> ForwardPass::create(const model::Model& model,
                                                         const kernels::KernelTable& table,
                                                         uint32_t block_tokens, uint32_t max_rows,
                                                         uint32_t max_sample_rows,
                                                         ThreadPool* pool) {
  STET_ASSIGN_OR_RETURN(ResolvedRecipe recipe, resolve_recipe(model));
  STET_ASSIGN_OR_RETURN(StepBuffers buffers,
                        StepBuffers::allocate(model.hyper, max_rows, max_sample_rows));
  STET_ASSIGN_OR_RETURN(
      std::unique_ptr<AttentionStage> attention,
      AttentionStage::create(model, table, block_tokens, max_rows, pool->num_threads()));
  return std::unique_ptr<ForwardPass>(new ForwardPass(
      model, table, pool, max_rows, std::move(recipe), std::move(buffers), std::move(attention)));
}

ForwardPass::ForwardPass(const model::Model& model, const kernels::KernelTable& table,
                         ThreadPool* pool, uint32_t max_rows, ResolvedRecipe recipe,
                         StepBuffers buffers, std::unique_ptr<AttentionStage> attention)
    : model_(model),
      table_(table),
      pool_(pool),
      recipe_(std::move(recipe)),
      buffers_(std::move(buffers)),
      attention_(std::move(attention)),
      faults_(max_rows) {}

void ForwardPass::run_layers(std::span<const uint32_t> token_ids, std::span<const RowRun> runs,
                             std::span<const RowGroup> groups) {
  token_ids_ = token_ids;
  num_rows_ = static_cast<uint32_t>(token_ids.size());
  sample_rows_ = {};
  faults_.reset(num_rows_);
  attention_->prepare(num_rows_, runs, groups);
  next_attention_ = 0;
  for (const ResolvedOp& op : recipe_.prologue) {
    run_op(op, -1);
  }
  for (uint32_t l = 0; l < recipe_.layers.size(); ++l) {
    const ResolvedLayer& layer = recipe_.layers[l];
    for (const ResolvedOp& op : layer.before) {
      run_op(op, static_cast<int32_t>(l));
    }
    const LayerContext context{.layer = l,
                               .ops = &layer.attention,
                               .buffers = &buffers_,
                               .pool = pool_,
                               .faults = &faults_};
    attention_->store(context);
    timer_.mark(Verb::kRope);
    attention_->attend(context);
    timer_.mark(Verb::kAttention);
    next_attention_ = l + 1;
    for (const ResolvedOp& op : layer.after) {
      run_op(op, static_cast<int32_t>(l));
    }
  }
}

void ForwardPass::run_head(std::span<const uint32_t> rows) {
  sample_rows_ = rows;
  for (const ResolvedOp& op : recipe_.epilogue) {
    run_op(op, static_cast<int32_t>(recipe_.layers.size()));
  }
}

void ForwardPass::run_op(const ResolvedOp& op, int32_t layer) {
  switch (op.kind) {
    case OpKind::kEmbed: embed(op); break;
    case OpKind::kRmsNorm: rms_norm(op, layer); break;
    case OpKind::kLinear: linear(op); break;
    case OpKind::kGate: gate(op, layer); break;
    case OpKind::kAdd: add_branch(); break;
    case OpKind::kGatherSample: gather_sample_rows(); break;
    default: STET_CHECK(false, "resolve_recipe leaves attention to its stage");
  }
  timer_.mark(op.verb);
}

template <class F>
void ForwardPass::for_rows(uint32_t num_rows, F&& f) {
  pool_->run(num_rows, chunk_of(num_rows, pool_->num_threads(), 16),
             [&](uint32_t, uint32_t begin, uint32_t end) {
               for (uint32_t row = begin; row < end; ++row) {
                 f(row);
               }
             });
}

// Rows of the epilogue are numbered by sample; faults are kept by row of the step.
void ForwardPass::mark(uint32_t row, int32_t layer) {
  faults_.mark(sample_rows_.empty() ? row : sample_rows_[row], layer);
}

void ForwardPass::embed(const ResolvedOp& op) {
  const FloatRows& out = buffers_.floats(op.out);
  for_rows(num_rows_, [&](uint32_t row) {
    table_.embed(*op.parts[0], token_ids_[row], model_.hyper.embedding_scale, out.row(row));
  });
}

void ForwardPass::rms_norm(const ResolvedOp& op, int32_t layer) {
  const FloatRows& in = buffers_.floats(op.in);
  const auto num_rows =
      sample_rows_.empty() ? num_rows_ : static_cast<uint32_t>(sample_rows_.size());
  const float eps = model_.hyper.norm_eps;
  if (!is_linear_input(op.out)) {
    const FloatRows& out = buffers_.floats(op.out);
    for_rows(num_rows, [&](uint32_t row) {
      if (table_.rms_norm(in.row(row), op.norm, model_.hyper.width, eps, out.row(row))) {
        mark(row, layer);
      }
    });
    return;
  }
  const kernels::LinearInput out = buffers_.input(op.out, op.needs_q, op.needs_x);
  for_rows(num_rows, [&](uint32_t row) {
    if (table_.rms_norm_quantise(in.row(row), op.norm, eps, {}, out, row)) {
      mark(row, layer);
    }
  });
}

void ForwardPass::gate(const ResolvedOp& op, int32_t layer) {
  const FloatRows& in = buffers_.floats(op.in);
  const kernels::LinearInput out = buffers_.input(op.out, op.needs_q, op.needs_x);
  for_rows(num_rows_, [&](uint32_t row) {
    const float* gate = in.row(row) + in.part[0];
    const float* up = in.row(row) + in.part[1];
    if (table_.gate_quantise(model_.hyper.gate, gate, up, {}, out, row)) {
      mark(row, layer);
    }
  });
}

void ForwardPass::add_branch() {
  const FloatRows& branch = buffers_.floats(Slot::kBranch);
  const FloatRows& hidden = buffers_.floats(Slot::kHidden);
  for_rows(num_rows_,
           [&](uint32_t row) { table_.add(branch.row(row), model_.hyper.width, hidden.row(row)); });
}

void ForwardPass::gather_sample_rows() {
  const FloatRows& in = buffers_.floats(Slot::kHidden);
  const FloatRows& out = buffers_.floats(Slot::kSampleHidden);
  for (uint32_t i = 0; i < sample_rows_.size(); ++i) {
    std::memcpy(out.row(i), in.row(sample_rows_[i]), model_.hyper.width * sizeof(float));
  }
}

void ForwardPass::linear(const ResolvedOp& op) {
  const FloatRows& out = buffers_.floats(op.out);
  kernels::LinearArgs base;
  base.in = buffers_.input(op.in, true, true);
  base.num_rows = sample_rows_.empty() ? num_rows_ : static_cast<uint32_t>(sample_rows_.size());
  base.ldo = out.ld;
  base.add = op.add;
  uint32_t num_panels = 0;
  for (const kernels::PackedMatrix* part : op.parts) {
    num_panels += part->num_panels();
  }
  const uint32_t chunk = chunk_of(num_panels, pool_->num_threads(), UINT32_MAX);
  pool_->run(num_panels, chunk, [&](uint32_t thread, uint32_t begin, uint32_t end) {
    uint32_t first = 0;  // panel of the op at which the part begins
    for (size_t p = 0; p < op.parts.size() && first < end; ++p) {
      const kernels::PackedMatrix& w = *op.parts[p];
      const uint32_t last = first + w.num_panels();
      if (begin < last) {
        kernels::LinearArgs args = base;
        args.w = &w;
        args.prefetch = attention_->prefetch(next_attention_, thread);
        args.panel_begin = std::max(begin, first) - first;
        args.panel_end = std::min(end, last) - first;
        args.out = out.data + out.part[p];
        table_.linear[static_cast<size_t>(w.type)](args);
      }
      first = last;
    }
  });
}

}  // namespace stet::executor
