#include "src/executor/cpu/attention_stage.h"

#include <algorithm>

#include "stet/base/check.h"

namespace stet::executor {
namespace {

using kernels::kSegment;
using kernels::kTile;
using model::Slot;

constexpr double kLog2E = 1.4426950408889634074;

uint64_t states_per_segment(const model::HyperParams& hyper) {
  return uint64_t{hyper.num_heads / hyper.num_kv_heads} *
         kernels::attention_state_stride(hyper.head_dim);
}

}  // namespace

uint64_t AttentionStage::bytes(const model::HyperParams& hyper, uint32_t num_threads) {
  return Arena::padded(uint64_t{AttentionItems::max_units(num_threads)} *
                       num_segments(hyper.context_len) * states_per_segment(hyper) * sizeof(float));
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
  stage->states_ = stage->arena_.take<float>(uint64_t{AttentionItems::max_units(num_threads)} *
                                             stage->max_segments_ * states_per_segment(hyper));
  stage->items_ = std::make_unique<AttentionItems>(hyper.num_kv_heads, max_rows,
                                                   stage->max_segments_, num_threads);
  stage->heads_left_.reset(new std::atomic<uint32_t>[max_rows]);
  stage->segments_left_.reset(new std::atomic<uint32_t>[AttentionItems::max_units(num_threads)]);
  stage->prefetch_ = std::make_unique<KvPrefetch>(model, stage->layout_, *stage->items_,
                                                  num_threads, l2_cache_bytes());
  return stage;
}

void AttentionStage::prepare(uint32_t num_rows, std::span<const RowRun> runs,
                             std::span<const RowGroup> groups) {
  items_->prepare(runs, groups);
  prefetch_->start_step(num_rows);
  const uint32_t heads = layout_.num_kv_heads;
  for (uint32_t p = 0; p < items_->pieces().size(); ++p) {
    heads_left_[p].store(heads, std::memory_order_relaxed);
    for (uint32_t head = 0; head < heads && items_->split(); ++head) {
      segments_left_[unit(p, head)].store(num_segments(items_->pieces()[p].end_pos()),
                                          std::memory_order_relaxed);
    }
  }
}

// ---------------------------------------------------------------- once per layer

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
  fault |=
      table_->rope_store_kv(hyper.rope_style, k, v, cos, sin, dim, hyper.rope_dim,
                            kv_tile(run.kv, layout_, context.layer, kv_head, pos), pos % kTile);
  if (fault) {
    context.faults->mark(row, static_cast<int32_t>(context.layer));
  }
}

void AttentionStage::store(const LayerContext& context) {
  const std::span<const AttentionItems::StoredRow> rows = items_->stored_rows();
  const auto num_rows = static_cast<uint32_t>(rows.size());
  const uint32_t chunk = std::clamp(num_rows / (8 * num_threads_), 1u, 16u);
  context.pool->run(num_rows, chunk, [&](uint32_t, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; ++i) {
      for (uint32_t head = 0; head < layout_.num_kv_heads; ++head) {
        store_row(context, items_->runs()[rows[i].run], rows[i].row, head);
      }
    }
  });
}

kernels::AttentionArgs AttentionStage::attention_args(const LayerContext& context, uint32_t index,
                                                      uint32_t kv_head) const {
  const AttentionPiece& piece = items_->pieces()[index];
  const size_t first_column = size_t{kv_head} * heads_per_kv_ * layout_.head_dim;
  const FloatRows& out = context.buffers->floats(Slot::kAttention);
  kernels::AttentionArgs args;
  args.kv = items_->run_of(piece).kv;
  args.head_offset = layout_.offset(context.layer, kv_head);
  args.head_dim = layout_.head_dim;
  args.num_heads = heads_per_kv_;
  args.first_pos = piece.first_pos;
  args.num_queries = piece.num_rows;
  args.window = context.ops->kind.window;
  args.q = context.buffers->q_bf16 + piece.first_row * context.buffers->q_ld + first_column;
  args.ldq = context.buffers->q_ld;
  args.out = out.row(piece.first_row) + first_column;
  args.ldo = out.ld;
  return args;
}

float* AttentionStage::states(uint32_t piece, uint32_t kv_head, uint32_t segment) const {
  const uint64_t stride =
      uint64_t{heads_per_kv_} * kernels::attention_state_stride(layout_.head_dim);
  return states_ + (uint64_t{unit(piece, kv_head)} * max_segments_ + segment) * stride;
}

void AttentionStage::run_item(const LayerContext& context, const AttentionItem& item,
                              const std::byte* next_tile) {
  for (uint32_t p : items_->pieces_of(item)) {
    const AttentionPiece& piece = items_->pieces()[p];
    if (items_->fused(piece)) {
      store_row(context, items_->run_of(piece), piece.first_row, item.kv_head);
    }
  }
  if (item.set == AttentionItem::kNone) {
    attend_piece(context, item, next_tile);
  } else {
    attend_set(context, item, next_tile);
  }
  for (uint32_t p : items_->pieces_of(item)) {
    if (item.segment == AttentionItem::kWhole || finish_segment(context, p, item.kv_head)) {
      finish_head(context, p);
    }
  }
}

void AttentionStage::attend_piece(const LayerContext& context, const AttentionItem& item,
                                  const std::byte* next_tile) {
  kernels::AttentionArgs args = attention_args(context, item.piece, item.kv_head);
  args.next_tile = next_tile;
  if (item.segment == AttentionItem::kWhole) {
    table_->attention(args);
  } else {
    table_->attention_segment(args, item.segment, states(item.piece, item.kv_head, item.segment));
  }
}

void AttentionStage::attend_set(const LayerContext& context, const AttentionItem& item,
                                const std::byte* next_tile) {
  const std::span<const uint32_t> pieces = items_->pieces_of(item);
  const bool whole = item.segment == AttentionItem::kWhole;
  kernels::GroupMember members[AttentionItems::kMaxSetMembers];
  kernels::GroupAttentionArgs group;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const kernels::AttentionArgs args = attention_args(context, pieces[i], item.kv_head);
    members[i] = {.kv = args.kv,
                  .pos = args.first_pos,
                  .q = args.q,
                  .out = args.out,
                  .states = whole ? nullptr : states(pieces[i], item.kv_head, item.segment)};
    group.head_offset = args.head_offset;
    group.window = args.window;
  }
  group.members = members;
  group.num_members = static_cast<uint32_t>(pieces.size());
  group.shared_tokens = items_->set_of(item).shared_tokens;
  group.head_dim = layout_.head_dim;
  group.num_heads = heads_per_kv_;
  group.next_tile = next_tile;
  if (whole) {
    table_->attention_group(group);
  } else {
    table_->attention_group_segment(group, item.segment);
  }
}

// True for the last segment of its row and head: the row is merged then.
bool AttentionStage::finish_segment(const LayerContext& context, uint32_t piece, uint32_t kv_head) {
  std::atomic<uint32_t>& left = segments_left_[unit(piece, kv_head)];
  if (left.fetch_sub(1, std::memory_order_acq_rel) != 1) {
    return false;
  }
  const uint32_t segments = num_segments(items_->pieces()[piece].end_pos());
  left.store(segments, std::memory_order_relaxed);  // for the next layer
  table_->attention_merge(attention_args(context, piece, kv_head), states(piece, kv_head, 0),
                          segments);
  return true;
}

void AttentionStage::finish_head(const LayerContext& context, uint32_t index) {
  if (heads_left_[index].fetch_sub(1, std::memory_order_acq_rel) != 1) {
    return;
  }
  heads_left_[index].store(layout_.num_kv_heads, std::memory_order_relaxed);  // for the next layer
  const AttentionPiece& piece = items_->pieces()[index];
  const FloatRows& in = context.buffers->floats(Slot::kAttention);
  const kernels::LinearInput out =
      context.buffers->input(Slot::kAttentionIn, context.ops->needs_q, context.ops->needs_x);
  for (uint32_t row = piece.first_row; row < piece.first_row + piece.num_rows; ++row) {
    if (table_->quantise(in.row(row), {}, out, row)) {
      context.faults->mark(row, static_cast<int32_t>(context.layer));
    }
  }
}

const std::byte* AttentionStage::first_tile(const AttentionItem& item, uint32_t layer) const {
  const uint32_t pos = item.segment == AttentionItem::kWhole ? 0 : item.segment * kSegment;
  return kv_tile(items_->run_of(items_->pieces()[item.piece]).kv, layout_, layer, item.kv_head,
                 pos);
}

// The lines that the rows of `item` will write. K of one position lies in as many lines as there
// are pairs, all of them out of the cache since the last step: without this the stores wait for
// memory one after the other.
void AttentionStage::prefetch_slots(const AttentionItem& item, uint32_t layer) const {
  const uint64_t row_bytes = uint64_t{layout_.head_dim} * 4;  // a pair of positions of V
  for (const uint32_t p : items_->pieces_of(item)) {
    const AttentionPiece& piece = items_->pieces()[p];
    if (!items_->fused(piece)) {
      continue;
    }
    const std::byte* k =
        kv_tile(items_->run_of(piece).kv, layout_, layer, item.kv_head, piece.first_pos);
    const uint32_t slot = piece.first_pos % kTile;
    for (uint32_t pair = 0; pair < layout_.head_dim / 2; ++pair) {
      __builtin_prefetch(k + uint64_t{pair} * kTile * 4 + slot * 4, 1, 2);
    }
    const std::byte* v = k + layout_.half_tile_bytes() + slot / 2 * row_bytes;
    for (uint64_t byte = 0; byte < row_bytes; byte += 64) {
      __builtin_prefetch(v + byte, 1, 2);
    }
  }
}

void AttentionStage::attend(const LayerContext& context) {
  const std::span<const AttentionItem> items = items_->items();
  const auto num_items = static_cast<uint32_t>(items.size());
  context.pool->run(num_items, items_->chunk(), [&](uint32_t, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; ++i) {
      const std::byte* next_tile = nullptr;
      if (i + 1 < num_items) {
        prefetch_slots(items[i + 1], context.layer);
        next_tile = first_tile(items[i + 1], context.layer);
      }
      run_item(context, items[i], next_tile);
    }
  });
}

}  // namespace stet::executor
