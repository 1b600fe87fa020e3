#include "stet/base/ids.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace stet {
namespace {

// One kind of id does not pass for another, nor for a number.
static_assert(!std::is_convertible_v<BlockId, SeqId>);
static_assert(!std::is_convertible_v<RequestId, SeqId>);
static_assert(!std::is_convertible_v<uint32_t, BlockId>);
static_assert(!std::is_convertible_v<BlockId, uint32_t>);
static_assert(sizeof(BlockId) == sizeof(uint32_t) && sizeof(SeqId) == sizeof(uint64_t));

TEST(Ids, AreOrderedAndEqualLikeTheirNumbers) {
  EXPECT_EQ(BlockId{3}, BlockId{3});
  EXPECT_NE(BlockId{3}, BlockId{4});
  EXPECT_LT(SeqId{1}, SeqId{2});
  EXPECT_EQ(RequestId{}.v, 0u);
}

TEST(Ids, AreKeysOfHashTables) {
  std::unordered_set<RequestId> ids = {RequestId{1}, RequestId{2}, RequestId{1}};
  EXPECT_EQ(ids.size(), 2u);
  EXPECT_TRUE(ids.contains(RequestId{2}));
  EXPECT_FALSE(ids.contains(RequestId{3}));
}

}  // namespace
}  // namespace stet
