// C9 as a check on data: what each kind of operation may read and write is a table; a recipe that
// says otherwise, reads a slot before it is written, or does not fit together in size is refused.
#include "stet/model/recipe.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>
#include <utility>

#include "src/model/shapes.h"

namespace stet::model {
namespace {

// Which rows a slot has. Rows of the two kinds never meet except in kGatherSample.
enum class Rows : uint8_t { kPositions, kSamples };
Rows rows_of(Slot slot) {
  return slot == Slot::kSampleHidden || slot == Slot::kSampleNormed || slot == Slot::kLogits
             ? Rows::kSamples
             : Rows::kPositions;
}

// LinearInput slots hold codes; all others plain f32 rows.
bool is_linear_input(Slot slot) {
  return slot == Slot::kNormed || slot == Slot::kAttentionIn || slot == Slot::kGated ||
         slot == Slot::kSampleNormed;
}

enum class Part : uint8_t { kPrologue, kLayer, kEpilogue };
constexpr std::array<const char*, 3> kPartNames = {"prologue", "layer", "epilogue"};

// Where an operation stands, for messages, and what was written so far.
class Verifier {
 public:
  Status check_part(Part part, const std::vector<Op>& ops) {
    part_ = part;
    cache_written_ = false;
    for (size_t i = 0; i < ops.size(); ++i) {
      position_ = i;
      STET_RETURN_IF_ERROR(check_op(ops[i]));
    }
    return {};
  }
  bool was_written(Slot slot) const { return written_[static_cast<size_t>(slot)]; }

 private:
  Status refuse(const Op& op, const std::string& why) const {
    return failed_precondition(std::string("recipe: ") + kPartNames[static_cast<size_t>(part_)] +
                               "[" + std::to_string(position_) + "] " + op_name(op.kind) + ": " +
                               why);
  }

  Status check_reads(const Op& op) const {
    const Reads expected = op.kind == OpKind::kAttention ? Reads::kOwnSequence : Reads::kOwnRow;
    if (op.reads == Reads::kOtherRows) {
      return refuse(op, "reads other rows; one request could see another (C9)");
    }
    if (op.reads != expected) {
      return refuse(op, expected == Reads::kOwnRow
                            ? "must read its own row only (C9)"
                            : "reads the cache, so it must be marked 'own sequence' (C9)");
    }
    return {};
  }

  Status check_slots(const Op& op, std::initializer_list<std::pair<Slot, Slot>> allowed) const {
    if (std::find(allowed.begin(), allowed.end(), std::pair(op.in, op.out)) == allowed.end()) {
      return refuse(op,
                    std::string("cannot go from ") + slot_name(op.in) + " to " + slot_name(op.out));
    }
    return {};
  }

  Status check_weights(const Op& op, std::initializer_list<WeightRole> expected) const {
    if (!std::equal(op.weights.begin(), op.weights.end(), expected.begin(), expected.end())) {
      return refuse(op, "has weights that do not belong to it");
    }
    return {};
  }

  Status check_norm(const Op& op) const {
    const bool fits = op.in == Slot::kBranch ? op.out == Slot::kBranch
                                             : !is_linear_input(op.in) && is_linear_input(op.out) &&
                                                   extent_of(op.in) == Extent::kWidth;
    if (!fits || extent_of(op.in) != extent_of(op.out)) {
      return refuse(op,
                    std::string("cannot go from ") + slot_name(op.in) + " to " + slot_name(op.out));
    }
    if (op.weights.size() != 1 || !shape_of(op.weights[0]).is_vector() ||
        shape_of(op.weights[0]).row != extent_of(op.in)) {
      return refuse(op, "needs one norm weight as long as its row");
    }
    return {};
  }

  // The parts of `out`, in order, must be just the outputs of the weights.
  Status check_linear(const Op& op) const {
    if (!is_linear_input(op.in) || is_linear_input(op.out)) {
      return refuse(op,
                    std::string("cannot go from ") + slot_name(op.in) + " to " + slot_name(op.out));
    }
    std::vector<Extent> parts = {extent_of(op.out)};
    if (op.out == Slot::kQkv) {
      parts = {Extent::kQ, Extent::kKv, Extent::kKv};
    } else if (op.out == Slot::kGateUp) {
      parts = {Extent::kFfn, Extent::kFfn};
    }
    if (op.weights.size() != parts.size()) {
      return refuse(op, "needs " + std::to_string(parts.size()) + " weights, has " +
                            std::to_string(op.weights.size()));
    }
    for (size_t i = 0; i < parts.size(); ++i) {
      const WeightShape shape = shape_of(op.weights[i]);
      if (shape.row != extent_of(op.in) || shape.rows != parts[i]) {
        return refuse(op, std::string("weight ") + role_name(op.weights[i]) + " does not fit " +
                              slot_name(op.in) + " to " + slot_name(op.out));
      }
    }
    if (op.add && op.out != Slot::kHidden) {
      return refuse(op, "adds to a slot that is not the residual");
    }
    if (!op.add && op.out == Slot::kHidden) {
      return refuse(op, "overwrites the residual");
    }
    return {};
  }

  Status check_kind(const Op& op) const {
    switch (op.kind) {
      case OpKind::kEmbed:
        STET_RETURN_IF_ERROR(check_slots(op, {{Slot::kHidden, Slot::kHidden}}));
        return check_weights(op, {WeightRole::kEmbedding});
      case OpKind::kRmsNorm: return check_norm(op);
      case OpKind::kLinear: return check_linear(op);
      case OpKind::kHeadNorm:
        STET_RETURN_IF_ERROR(check_slots(op, {{Slot::kQkv, Slot::kQkv}}));
        return check_weights(op, {WeightRole::kQNorm, WeightRole::kKNorm});
      case OpKind::kRopeStoreKv:
        STET_RETURN_IF_ERROR(check_slots(op, {{Slot::kQkv, Slot::kQkv}}));
        return check_weights(op, {});
      case OpKind::kAttention:
        STET_RETURN_IF_ERROR(check_slots(op, {{Slot::kQkv, Slot::kAttention}}));
        return check_weights(op, {});
      case OpKind::kQuantise:
        STET_RETURN_IF_ERROR(check_slots(op, {{Slot::kAttention, Slot::kAttentionIn}}));
        return check_weights(op, {});
      case OpKind::kGate:
        STET_RETURN_IF_ERROR(check_slots(op, {{Slot::kGateUp, Slot::kGated}}));
        return check_weights(op, {});
      case OpKind::kAdd:
        STET_RETURN_IF_ERROR(check_slots(op, {{Slot::kBranch, Slot::kHidden}}));
        return check_weights(op, {});
      case OpKind::kGatherSample:
        STET_RETURN_IF_ERROR(check_slots(op, {{Slot::kHidden, Slot::kSampleHidden}}));
        return check_weights(op, {});
    }
    return refuse(op, "is of no known kind");
  }

  // Each kind has its part of the pass; the cache of a layer is written and read inside the layer.
  Status check_place(const Op& op) const {
    Part expected = Part::kLayer;
    if (op.kind == OpKind::kEmbed) {
      expected = Part::kPrologue;
    } else if (op.kind == OpKind::kGatherSample || rows_of(op.out) == Rows::kSamples) {
      expected = Part::kEpilogue;
    }
    if (part_ != expected) {
      return refuse(op, std::string("belongs to the ") + kPartNames[static_cast<size_t>(expected)]);
    }
    if (rows_of(op.in) != rows_of(op.out) && op.kind != OpKind::kGatherSample) {
      return refuse(op, "mixes rows of positions with rows of samples");
    }
    if (op.kind == OpKind::kAttention && !cache_written_) {
      return refuse(op, "reads this layer's cache before rope_store_kv wrote it");
    }
    if (op.kind == OpKind::kHeadNorm && cache_written_) {
      return refuse(op, "comes after rope_store_kv");
    }
    if (op.kind == OpKind::kRopeStoreKv && cache_written_) {
      return refuse(op, "writes this layer's cache a second time");
    }
    return {};
  }

  Status check_op(const Op& op) {
    if (op.add && op.kind != OpKind::kLinear) {
      return refuse(op, "cannot accumulate; only linears can");
    }
    STET_RETURN_IF_ERROR(check_reads(op));
    STET_RETURN_IF_ERROR(check_kind(op));
    STET_RETURN_IF_ERROR(check_place(op));
    if (op.kind != OpKind::kEmbed && !was_written(op.in)) {
      return refuse(op, std::string("reads ") + slot_name(op.in) + " before anything wrote it");
    }
    const bool accumulates = op.add || op.kind == OpKind::kAdd;
    if (accumulates && !was_written(op.out)) {
      return refuse(op, std::string("adds to ") + slot_name(op.out) + " before anything wrote it");
    }
    written_[static_cast<size_t>(op.out)] = true;
    // Rope turns the f32 q part into bf16 rows: nothing but attention may read it afterwards, and
    // only once per layer.
    cache_written_ = cache_written_ || op.kind == OpKind::kRopeStoreKv;
    return {};
  }

  Part part_ = Part::kPrologue;
  size_t position_ = 0;
  bool cache_written_ = false;
  std::array<bool, static_cast<size_t>(Slot::kLogits) + 1> written_{};
};

}  // namespace

Status verify_non_interference(const ModelRecipe& recipe) {
  Verifier verifier;
  STET_RETURN_IF_ERROR(verifier.check_part(Part::kPrologue, recipe.prologue));
  // One pass is enough: what the first layer may read, every later layer may read too.
  STET_RETURN_IF_ERROR(verifier.check_part(Part::kLayer, recipe.layer));
  STET_RETURN_IF_ERROR(verifier.check_part(Part::kEpilogue, recipe.epilogue));
  if (!verifier.was_written(Slot::kLogits)) {
    return failed_precondition("recipe: ends without logits");
  }
  return {};
}

}  // namespace stet::model
