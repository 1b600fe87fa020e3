#include "stet/base/id_map.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>

#include "stet/base/ids.h"

namespace stet {
namespace {

TEST(IdMap, HoldsWhatWasPutIn) {
  IdMap<SeqId, int> map;
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(map.find(SeqId{7}), nullptr);
  EXPECT_TRUE(map.emplace(SeqId{7}, 70));
  EXPECT_FALSE(map.emplace(SeqId{7}, 71));
  EXPECT_EQ(map.at(SeqId{7}), 70);
  EXPECT_EQ(map.size(), 1u);
  EXPECT_FALSE(map.erase(SeqId{8}));
  EXPECT_TRUE(map.erase(SeqId{7}));
  EXPECT_EQ(map.find(SeqId{7}), nullptr);
  EXPECT_TRUE(map.empty());
}

TEST(IdMap, NoKeyIsFoundInEmptySlots) {
  IdMap<SeqId, int> map;
  EXPECT_EQ(map.find(SeqId{}), nullptr);
  EXPECT_FALSE(map.erase(SeqId{}));
}

TEST(IdMap, ValuesThatOnlyMoveAreKept) {
  IdMap<SeqId, std::unique_ptr<int>> map;
  for (uint64_t id = 1; id <= 100; ++id) {
    ASSERT_TRUE(map.emplace(SeqId{id}, std::make_unique<int>(static_cast<int>(id))));
  }
  ASSERT_TRUE(map.erase(SeqId{50}));
  for (uint64_t id = 1; id <= 100; ++id) {
    ASSERT_EQ(map.find(SeqId{id}) == nullptr, id == 50);
    if (id != 50) {
      EXPECT_EQ(*map.at(SeqId{id}), static_cast<int>(id));
    }
  }
}

// Ids in a row with gaps, and ids that collide in every table of up to 4,096 slots, against
// std::map.
TEST(IdMap, DoesWhatAMapDoes) {
  for (const uint64_t stride : {1u, 4096u}) {
    std::mt19937_64 random(stride);
    IdMap<SeqId, uint64_t> map;
    std::map<SeqId, uint64_t> model;
    uint64_t next = 1;
    for (int i = 0; i < 20'000; ++i) {
      const SeqId old{(1 + random() % next) * stride};
      switch (random() % 4) {
        case 0:
        case 1: {
          const SeqId id{next++ * stride};
          ASSERT_TRUE(map.emplace(id, id.v * 3));
          model.emplace(id, id.v * 3);
          break;
        }
        case 2: ASSERT_EQ(map.erase(old), model.erase(old) == 1); break;
        default:
          ASSERT_EQ(map.find(old) != nullptr, model.count(old) == 1);
          while (stride > 1 && model.size() > 200) {  // long runs of collisions are slow
            ASSERT_TRUE(map.erase(model.begin()->first));
            model.erase(model.begin());
          }
          break;
      }
      ASSERT_EQ(map.size(), model.size());
    }
    size_t seen = 0;
    for (const auto& [id, value] : map) {
      ++seen;
      EXPECT_EQ(model.at(id), value);
    }
    EXPECT_EQ(seen, model.size());
  }
}

TEST(IdMapDeath, AtWantsAnIdThatIsThere) {
  IdMap<SeqId, int> map;
  EXPECT_DEATH(map.at(SeqId{3}), "in the map");
}

}  // namespace
}  // namespace stet
