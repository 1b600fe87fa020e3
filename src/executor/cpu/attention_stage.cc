#include "src/executor/cpu/attention_stage.h"

#include <algorithm>

#include "stet/base/check.h"

namespace stet::executor {
namespace {

using kernels::kSegment;
using kernels::kTile;
using model::Slot;

// A piece's rows share every tile they read. Measured for SmolLM2 (performance.md sec. 3): 16-24
// queries balance two threads without reading tiles too often; below 6 the reads dominate.
constexpr uint32_t kMaxPieceRows = 24;
constexpr uint32_t kMinPieceRows = 6;
constexpr uint32_t kItemsPerThread =
    4;  // wanted, so that the last item of a region is a small share of it
constexpr uint32_t kSplitBelowItemsPerThread = 2;
constexpr double kLog2E = 1.4426950408889634074;

uint32_t num_segments(uint32_t end_pos) {
  return (end_pos + kSegment - 1) / kSegment;
}

uint32_t max_units(uint32_t num_threads) {
  return kSplitBelowItemsPerThread * num_threads;
}

uint64_t states_per_segment(const model::HyperParams& hyper) {
  return uint64_t{hyper.num_heads / hyper.num_kv_heads} *
         kernels::attention_state_stride(hyper.head_dim);
}

}  // namespace

uint64_t AttentionStage::bytes(const model::HyperParams& hyper, uint32_t num_threads) {
  return Arena::padded(uint64_t{max_units(num_threads)} * num_segments(hyper.context_len) *
                       states_per_segment(hyper) * sizeof(float));
}

Result<std::unique_ptr<AttentionStage>> AttentionStage::create(const model::Model& model,
                                                               const kernels::KernelTable& table,
                                                               uint32_t block_tokens,
                                                               uint32_t max_rows,
                                                               uint32_t num_threads) {
  const model::HyperParams& hyper = model.hyper;
  std::unique_ptr<AttentionStage> stage(new AttentionStage());
  stage->model_ = &model;
  stage->table_ = &table;
  stage->layout_ = model.kv_layout(block_tokens);
  stage->num_threads_ = num_threads;
  stage->heads_per_kv_ = hyper.num_heads / hyper.num_kv_heads;
  stage->max_segments_ = num_segments(hyper.context_len);
  stage->q_scale_ = static_cast<float>(double{hyper.attention_scale} * kLog2E);  // C5: c
  STET_ASSIGN_OR_RETURN(stage->arena_, Arena::map(bytes(hyper, num_threads), "attention states"));
  stage->states_ = stage->arena_.take<float>(uint64_t{max_units(num_threads)} *
                                             stage->max_segments_ * states_per_segment(hyper));
  const size_t max_items =
      size_t{max_rows} * hyper.num_kv_heads + size_t{max_units(num_threads)} * stage->max_segments_;
  stage->groups_.reserve(max_rows);
  stage->items_.reserve(max_items);
  stage->dealt_.reserve(max_items);
  stage->stored_rows_.reserve(max_rows);
  stage->run_of_row_.resize(max_rows);
  stage->heads_left_.reset(new std::atomic<uint32_t>[max_rows]);
  stage->segments_left_.reset(new std::atomic<uint32_t>[max_units(num_threads)]);
  stage->next_of_thread_.resize(num_threads);
  stage->tiles_.resize(num_threads);
  return stage;
}

// ---------------------------------------------------------------- once per step

void AttentionStage::prepare(std::span<const RowRun> runs) {
  runs_ = runs;
  groups_.clear();
  items_.clear();
  split_ = false;
  uint32_t num_rows = 0;
  for (const RowRun& run : runs) {
    num_rows += run.num_rows;
  }
  const uint32_t heads = layout_.num_kv_heads;
  const uint32_t piece =
      std::clamp(num_rows * heads / (kItemsPerThread * num_threads_), kMinPieceRows, kMaxPieceRows);
  for (uint32_t r = 0; r < runs.size(); ++r) {
    const RowRun& run = runs[r];
    for (uint32_t done = 0; done < run.num_rows; done += piece) {
      add_group({.run = r,
                 .first_row = run.first_row + done,
                 .num_rows = std::min(piece, run.num_rows - done),
                 .first_pos = run.first_pos + done});
    }
  }
  if (items_.size() < max_units(num_threads_) && num_threads_ > 1) {
    split_into_segments();
  }
  stored_rows_.clear();
  for (uint32_t g = 0; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    heads_left_[g].store(heads, std::memory_order_relaxed);
    if (!fused(group)) {
      for (uint32_t row = group.first_row; row < group.first_row + group.num_rows; ++row) {
        stored_rows_.push_back(row);
        run_of_row_[row] = group.run;
      }
    }
  }
  deal_items();
}

void AttentionStage::add_group(const Group& group) {
  const auto index = static_cast<uint32_t>(groups_.size());
  groups_.push_back(group);
  for (uint32_t head = 0; head < layout_.num_kv_heads; ++head) {
    items_.push_back({.group = index,
                      .kv_head = head,
                      .cost = uint64_t{group.num_rows} * (group.end_pos() / kTile + 1),
                      .order = static_cast<uint32_t>(items_.size())});
  }
}

// Few items: single rows with more than one segment become one item per segment. Bits stay, because
// segments are part of the definition (C5).
void AttentionStage::split_into_segments() {
  const bool worth_it = std::any_of(groups_.begin(), groups_.end(), [](const Group& group) {
    return group.num_rows == 1 && group.end_pos() > kSegment;
  });
  if (!worth_it) {
    return;
  }
  split_ = true;
  const auto num_whole = static_cast<uint32_t>(items_.size());
  for (uint32_t i = 0; i < num_whole; ++i) {
    const Group& group = groups_[items_[i].group];
    const uint32_t segments = num_segments(group.end_pos());
    if (group.num_rows != 1 || segments == 1) {
      continue;
    }
    segments_left_[i].store(segments, std::memory_order_relaxed);
    for (uint32_t segment = 0; segment < segments; ++segment) {
      const uint32_t end = std::min(group.end_pos(), (segment + 1) * kSegment);
      Item item = items_[i];
      item.segment = segment;
      item.unit = i;
      item.cost = (end - segment * kSegment) / kTile + 1;
      item.order = static_cast<uint32_t>(items_.size());
      if (segment == 0) {
        item.order = items_[i].order;
        items_[i] = item;
      } else {
        items_.push_back(item);
      }
    }
  }
}

// Heaviest first, dealt in turn to the ranges the threads start with.
void AttentionStage::deal_items() {
  std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) {
    return a.cost != b.cost ? a.cost > b.cost : a.order < b.order;
  });
  const auto num_items = static_cast<uint32_t>(items_.size());
  const bool heavy = num_items > 0 && items_[0].cost > kTile;
  chunk_ = heavy ? 1 : std::clamp(num_items / (8 * num_threads_), 1u, 4u);
  for (uint32_t t = 0; t < num_threads_; ++t) {
    next_of_thread_[t] = range_begin(t);
  }
  dealt_.resize(num_items);
  uint32_t t = 0;
  for (const Item& item : items_) {
    while (next_of_thread_[t] == range_begin(t + 1)) {
      t = (t + 1) % num_threads_;
    }
    dealt_[next_of_thread_[t]++] = item;
    t = (t + 1) % num_threads_;
  }
}

// First item of the range that the pool gives thread `t` to start with.
uint32_t AttentionStage::range_begin(uint32_t t) const {
  const auto num_items = static_cast<uint32_t>(items_.size());
  const uint32_t num_chunks = (num_items + chunk_ - 1) / chunk_;
  return std::min(num_items, ThreadPool::range_begin(num_chunks, t, num_threads_) * chunk_);
}

// ---------------------------------------------------------------- once per layer

std::byte* AttentionStage::tile(const RowRun& run, uint32_t layer, uint32_t kv_head,
                                uint32_t pos) const {
  return run.kv.block(pos / layout_.block_tokens) + layout_.offset(layer, kv_head) +
         uint64_t{pos % layout_.block_tokens / kTile} * tile_bytes();
}

void AttentionStage::store_row(const LayerContext& context, const RowRun& run, uint32_t row,
                               uint32_t kv_head) const {
  const model::HyperParams& hyper = model_->hyper;
  const StepBuffers& buffers = *context.buffers;
  const FloatRows& qkv = buffers.floats(Slot::kQkv);
  const uint32_t dim = hyper.head_dim;
  const uint32_t pos = run.first_pos + (row - run.first_row);
  const model::RopeTable& rope = model_->rope_tables[context.ops->kind.rope_table];
  const float* cos = rope.cos.data() + size_t{pos} * (hyper.rope_dim / 2);
  const float* sin = rope.sin.data() + size_t{pos} * (hyper.rope_dim / 2);
  float* q = qkv.row(row) + qkv.part[0] + size_t{kv_head} * heads_per_kv_ * dim;
  float* k = qkv.row(row) + qkv.part[1] + size_t{kv_head} * dim;
  const float* v = qkv.row(row) + qkv.part[2] + size_t{kv_head} * dim;
  uint16_t* q_out = buffers.q_bf16 + row * buffers.q_ld + size_t{kv_head} * heads_per_kv_ * dim;
  bool fault = false;
  if (context.ops->k_norm != nullptr) {
    fault |= table_->rms_norm(k, context.ops->k_norm, dim, hyper.norm_eps, k);
  }
  for (uint32_t head = 0; head < heads_per_kv_; ++head, q += dim, q_out += dim) {
    if (context.ops->q_norm != nullptr) {
      fault |= table_->rms_norm(q, context.ops->q_norm, dim, hyper.norm_eps, q);
    }
    fault |= table_->rope_q(hyper.rope_style, q, cos, sin, dim, hyper.rope_dim, q_scale_, q_out);
  }
  fault |= table_->rope_store_kv(hyper.rope_style, k, v, cos, sin, dim, hyper.rope_dim,
                                 tile(run, context.layer, kv_head, pos), pos % kTile);
  if (fault) {
    context.faults->mark(row, static_cast<int32_t>(context.layer));
  }
}

void AttentionStage::store(const LayerContext& context) {
  const auto num_rows = static_cast<uint32_t>(stored_rows_.size());
  const uint32_t chunk = std::clamp(num_rows / (8 * num_threads_), 1u, 16u);
  context.pool->run(num_rows, chunk, [&](uint32_t, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; ++i) {
      for (uint32_t head = 0; head < layout_.num_kv_heads; ++head) {
        store_row(context, runs_[run_of_row_[stored_rows_[i]]], stored_rows_[i], head);
      }
    }
  });
}

kernels::AttentionArgs AttentionStage::attention_args(const LayerContext& context,
                                                      const Item& item) const {
  const Group& group = groups_[item.group];
  const size_t first_column = size_t{item.kv_head} * heads_per_kv_ * layout_.head_dim;
  const FloatRows& out = context.buffers->floats(Slot::kAttention);
  kernels::AttentionArgs args;
  args.kv = runs_[group.run].kv;
  args.head_offset = layout_.offset(context.layer, item.kv_head);
  args.head_dim = layout_.head_dim;
  args.num_heads = heads_per_kv_;
  args.first_pos = group.first_pos;
  args.num_queries = group.num_rows;
  args.window = context.ops->kind.window;
  args.q = context.buffers->q_bf16 + group.first_row * context.buffers->q_ld + first_column;
  args.ldq = context.buffers->q_ld;
  args.out = out.row(group.first_row) + first_column;
  args.ldo = out.ld;
  return args;
}

float* AttentionStage::states(const Item& item, uint32_t segment) const {
  const uint64_t stride =
      uint64_t{heads_per_kv_} * kernels::attention_state_stride(layout_.head_dim);
  return states_ + (uint64_t{item.unit} * max_segments_ + segment) * stride;
}

void AttentionStage::run_item(const LayerContext& context, const Item& item,
                              const std::byte* next_tile) {
  const Group& group = groups_[item.group];
  if (fused(group)) {
    store_row(context, runs_[group.run], group.first_row, item.kv_head);
  }
  kernels::AttentionArgs args = attention_args(context, item);
  args.next_tile = next_tile;
  if (item.segment == kWhole) {
    table_->attention(args);
  } else {
    table_->attention_segment(args, item.segment, states(item, item.segment));
    if (segments_left_[item.unit].fetch_sub(1, std::memory_order_acq_rel) != 1) {
      return;
    }
    const uint32_t segments = num_segments(group.end_pos());
    segments_left_[item.unit].store(segments, std::memory_order_relaxed);  // for the next layer
    args.next_tile = nullptr;
    table_->attention_merge(args, states(item, 0), segments);
  }
  finish_head(context, item.group);
}

void AttentionStage::finish_head(const LayerContext& context, uint32_t index) {
  if (heads_left_[index].fetch_sub(1, std::memory_order_acq_rel) != 1) {
    return;
  }
  heads_left_[index].store(layout_.num_kv_heads, std::memory_order_relaxed);  // for the next layer
  const Group& group = groups_[index];
  const FloatRows& in = context.buffers->floats(Slot::kAttention);
  const kernels::LinearInput out =
      context.buffers->input(Slot::kAttentionIn, context.ops->needs_q, context.ops->needs_x);
  for (uint32_t row = group.first_row; row < group.first_row + group.num_rows; ++row) {
    if (table_->quantise(in.row(row), {}, out, row)) {
      context.faults->mark(row, static_cast<int32_t>(context.layer));
    }
  }
}

void AttentionStage::attend(const LayerContext& context) {
  const auto num_items = static_cast<uint32_t>(dealt_.size());
  context.pool->run(num_items, chunk_, [&](uint32_t, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; ++i) {
      const std::byte* next = nullptr;
      if (i + 1 < num_items) {
        const Item& item = dealt_[i + 1];
        const uint32_t pos = item.segment == kWhole ? 0 : item.segment * kSegment;
        next = tile(runs_[groups_[item.group].run], context.layer, item.kv_head, pos);
      }
      run_item(context, dealt_[i], next);
    }
  });
}

std::span<const std::byte* const> AttentionStage::tiles_of_thread(uint32_t layer, uint32_t t) {
  std::vector<const std::byte*>& tiles = tiles_[t];
  tiles.clear();
  const uint32_t end = range_begin(t + 1);
  for (uint32_t i = range_begin(t); i < end; ++i) {
    const Group& group = groups_[dealt_[i].group];
    for (uint32_t pos = 0; pos < group.end_pos(); pos += kTile) {
      tiles.push_back(tile(runs_[group.run], layer, dealt_[i].kv_head, pos));
    }
  }
  return tiles;
}

}  // namespace stet::executor
