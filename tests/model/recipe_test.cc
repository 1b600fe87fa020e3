// C9 as data: the recipes of this build pass, and every planted fault is refused for its own
// reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "stet/model/model.h"
#include "tests/model/model_testing.h"

namespace stet::model {
namespace {

using ::testing::HasSubstr;

ModelRecipe recipe_of(const std::string& arch) {
  stet::testing::TinyModelSpec spec;
  spec.arch = arch;
  return load_tiny(spec).value()->recipe;
}

size_t index_of(const std::vector<Op>& ops, OpKind kind, size_t nth = 0) {
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].kind == kind && nth-- == 0) {
      return i;
    }
  }
  ADD_FAILURE() << "the recipe has no such operation";
  return 0;
}

TEST(Recipe, EveryKnownArchitectureIsNonInterfering) {
  for (const char* arch : known_architectures()) {
    const ModelRecipe recipe = recipe_of(arch);
    EXPECT_EQ(recipe.architecture, arch);
    EXPECT_TRUE(verify_non_interference(recipe).ok()) << verify_non_interference(recipe).message();
  }
}

TEST(Recipe, AnyOperationThatReadsOtherRowsIsRefused) {
  for (const char* arch : known_architectures()) {
    const ModelRecipe good = recipe_of(arch);
    for (size_t i = 0; i < good.layer.size(); ++i) {
      ModelRecipe bad = good;
      bad.layer[i].reads = Reads::kOtherRows;
      EXPECT_THAT(verify_non_interference(bad).message(), HasSubstr("reads other rows"));
      bad.layer[i].reads =
          good.layer[i].reads == Reads::kOwnRow ? Reads::kOwnSequence : Reads::kOwnRow;
      EXPECT_THAT(verify_non_interference(bad).message(), HasSubstr("(C9)"));
    }
  }
}

TEST(Recipe, AnyOperationLeftOutIsRefused) {
  // Left out without a trace in the flow of slots: in-place steps and additions of a branch.
  // Everything else must show.
  const std::set<OpKind> in_place = {OpKind::kHeadNorm, OpKind::kAdd};
  for (const char* arch : known_architectures()) {
    const ModelRecipe good = recipe_of(arch);
    for (size_t i = 0; i < good.layer.size(); ++i) {
      const Op& op = good.layer[i];
      const bool first_writer =
          std::none_of(good.layer.begin(), good.layer.begin() + static_cast<ptrdiff_t>(i),
                       [&](const Op& earlier) { return earlier.out == op.out; });
      if (in_place.contains(op.kind) || op.add || !first_writer) {
        continue;
      }
      ModelRecipe bad = good;
      bad.layer.erase(bad.layer.begin() + static_cast<ptrdiff_t>(i));
      EXPECT_FALSE(verify_non_interference(bad).ok()) << arch << " without layer[" << i << "]";
    }
    for (size_t i = 0; i < good.epilogue.size(); ++i) {
      ModelRecipe bad = good;
      bad.epilogue.erase(bad.epilogue.begin() + static_cast<ptrdiff_t>(i));
      EXPECT_FALSE(verify_non_interference(bad).ok()) << arch << " without epilogue[" << i << "]";
    }
    ModelRecipe bad = good;
    bad.prologue.clear();
    EXPECT_THAT(verify_non_interference(bad).message(),
                HasSubstr("reads hidden before anything wrote it"));
  }
}

struct Mutation {
  const char* what;
  const char* arch;
  std::function<void(ModelRecipe*)> apply;
  const char* message;
};

TEST(Recipe, PlantedFaultsAreRefusedForTheirOwnReason) {
  const std::vector<Mutation> mutations = {
      {"attention before its cache is written", "llama",
       [](ModelRecipe* r) {
         r->layer.erase(r->layer.begin() +
                        static_cast<ptrdiff_t>(index_of(r->layer, OpKind::kRopeStoreKv)));
       },
       "layer[2] attention: reads this layer's cache before rope_store_kv wrote it"},
      {"a cache written twice", "llama",
       [](ModelRecipe* r) {
         const size_t i = index_of(r->layer, OpKind::kRopeStoreKv);
         r->layer.insert(r->layer.begin() + static_cast<ptrdiff_t>(i), r->layer[i]);
       },
       "a second time"},
      {"QK norm after rope", "gemma3",
       [](ModelRecipe* r) {
         std::swap(r->layer[index_of(r->layer, OpKind::kHeadNorm)],
                   r->layer[index_of(r->layer, OpKind::kRopeStoreKv)]);
       },
       "comes after rope_store_kv"},
      {"a matrix of another shape", "llama",
       [](ModelRecipe* r) {
         r->layer[index_of(r->layer, OpKind::kLinear, 1)].weights = {WeightRole::kDown};
       },
       "weight down does not fit attention_in to hidden"},
      {"k and v missing", "llama",
       [](ModelRecipe* r) {
         r->layer[index_of(r->layer, OpKind::kLinear)].weights = {WeightRole::kQ};
       },
       "needs 3 weights, has 1"},
      {"parts out of order", "llama",
       [](ModelRecipe* r) {
         r->layer[index_of(r->layer, OpKind::kLinear)].weights = {WeightRole::kK, WeightRole::kQ,
                                                                  WeightRole::kV};
       },
       "weight k does not fit normed to qkv"},
      {"a norm as long as a head on the residual", "gemma3",
       [](ModelRecipe* r) {
         r->layer[index_of(r->layer, OpKind::kRmsNorm)].weights = {WeightRole::kQNorm};
       },
       "one norm weight as long as its row"},
      {"the residual overwritten", "llama",
       [](ModelRecipe* r) { r->layer[index_of(r->layer, OpKind::kLinear, 1)].add = false; },
       "overwrites the residual"},
      {"accumulation outside the residual", "llama",
       [](ModelRecipe* r) { r->layer[index_of(r->layer, OpKind::kLinear)].add = true; },
       "adds to a slot that is not the residual"},
      {"an accumulating norm", "llama", [](ModelRecipe* r) { r->layer[0].add = true; },
       "only linears can"},
      {"a linear on plain rows", "llama",
       [](ModelRecipe* r) { r->layer[index_of(r->layer, OpKind::kLinear)].in = Slot::kHidden; },
       "cannot go from hidden to qkv"},
      {"sampling rows inside a layer", "llama",
       [](ModelRecipe* r) { r->layer.push_back(r->epilogue[0]); }, "belongs to the epilogue"},
      {"a head over all positions", "llama",
       [](ModelRecipe* r) {
         r->epilogue[index_of(r->epilogue, OpKind::kLinear)].in = Slot::kNormed;
       },
       "mixes rows of positions with rows of samples"},
      {"a layer operation in the epilogue", "llama",
       [](ModelRecipe* r) { r->epilogue.insert(r->epilogue.begin(), r->layer[0]); },
       "belongs to the layer"},
      {"a branch added before it is computed", "gemma3",
       [](ModelRecipe* r) {
         r->layer.insert(r->layer.begin(), r->layer[index_of(r->layer, OpKind::kAdd)]);
       },
       "reads branch before anything wrote it"},
      {"no logits at all", "llama", [](ModelRecipe* r) { r->epilogue.pop_back(); },
       "ends without logits"},
  };
  for (const Mutation& mutation : mutations) {
    ModelRecipe recipe = recipe_of(mutation.arch);
    mutation.apply(&recipe);
    const Status status = verify_non_interference(recipe);
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << mutation.what;
    EXPECT_THAT(status.message(), HasSubstr(mutation.message)) << mutation.what;
  }
}

}  // namespace
}  // namespace stet::model
