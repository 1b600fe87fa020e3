#include "stet/kv/prefix_index.h"

#include <gtest/gtest.h>

namespace stet::kv {
namespace {

constexpr uint32_t kIndexBlockTokens = 4;
using Tokens = std::vector<uint32_t>;

ChainBlock chain_block(BlockId parent, const Sha256Digest& root, const Sha256Digest& hash,
                       const Tokens& tokens) {
  return {.parent = parent, .root = &root, .hash = &hash, .token_ids = tokens};
}

TEST(ChainHash, IsSha256OfParentAndTokensLittleEndian) {
  Sha256Digest root{};
  root[0] = 9;
  std::vector<std::byte> bytes(32);
  bytes[0] = std::byte{9};
  for (uint8_t byte : {1, 0, 0, 0, 2, 1, 0, 0}) {
    bytes.push_back(std::byte{byte});
  }
  EXPECT_EQ(sha256_chain(root, Tokens{1, 258}), sha256(bytes));
}

TEST(ChainHash, ChangesWithAnyTokenAndWithTheNamespace) {
  const Sha256Digest root{};
  const Sha256Digest hash = sha256_chain(root, Tokens{1, 2, 3, 4});
  for (uint32_t i = 0; i < 4; ++i) {
    Tokens other = {1, 2, 3, 4};
    ++other[i];
    EXPECT_NE(sha256_chain(root, other), hash);
  }
  Sha256Digest elsewhere{};
  elsewhere[31] = 1;
  EXPECT_NE(sha256_chain(elsewhere, Tokens{1, 2, 3, 4}), hash);
}

TEST(PrefixIndex, FindsAChainBlockByBlock) {
  PrefixIndex index(8, kIndexBlockTokens);
  const Sha256Digest root{};
  const Tokens t0 = {1, 2, 3, 4}, t1 = {5, 6, 7, 8};
  const Sha256Digest h0 = sha256_chain(root, t0), h1 = sha256_chain(h0, t1);
  EXPECT_TRUE(index.insert(BlockId{3}, chain_block(kNoBlock, root, h0, t0)));
  EXPECT_TRUE(index.insert(BlockId{5}, chain_block(BlockId{3}, root, h1, t1)));
  EXPECT_EQ(index.find(chain_block(kNoBlock, root, h0, t0)), BlockId{3});
  EXPECT_EQ(index.find(chain_block(BlockId{3}, root, h1, t1)), BlockId{5});
  EXPECT_EQ(index.num_children(BlockId{3}), 1u);
  EXPECT_TRUE(index.check_integrity().ok());
}

// With equal hashes the tokens, the parent and the namespace still decide.
TEST(PrefixIndex, ACollisionIsAMissNeverAnotherPrefix) {
  PrefixIndex index(8, kIndexBlockTokens);
  const Sha256Digest root{}, same{};
  Sha256Digest other_root{};
  other_root[0] = 1;
  const Tokens tokens = {1, 2, 3, 4}, other = {1, 2, 3, 5};
  EXPECT_TRUE(index.insert(BlockId{0}, chain_block(kNoBlock, root, same, tokens)));
  EXPECT_EQ(index.find(chain_block(kNoBlock, root, same, other)), kNoBlock);
  EXPECT_EQ(index.find(chain_block(kNoBlock, other_root, same, tokens)), kNoBlock);
  EXPECT_EQ(index.find(chain_block(BlockId{0}, root, same, tokens)), kNoBlock);
  EXPECT_FALSE(index.insert(BlockId{1}, chain_block(kNoBlock, root, same, other)));
  EXPECT_FALSE(index.contains(BlockId{1}));
  EXPECT_EQ(index.find(chain_block(kNoBlock, root, same, tokens)), BlockId{0});
}

TEST(PrefixIndex, GenerationTellsThatABlockLeftInBetween) {
  PrefixIndex index(2, kIndexBlockTokens);
  const Sha256Digest root{};
  const Tokens tokens = {1, 2, 3, 4};
  const Sha256Digest hash = sha256_chain(root, tokens);
  ASSERT_TRUE(index.insert(BlockId{0}, chain_block(kNoBlock, root, hash, tokens)));
  const uint32_t generation = index.generation(BlockId{0});
  const uint64_t epoch = index.epoch();
  index.erase(BlockId{0});
  ASSERT_TRUE(index.insert(BlockId{0}, chain_block(kNoBlock, root, hash, tokens)));
  EXPECT_NE(index.generation(BlockId{0}), generation);
  EXPECT_EQ(index.epoch(), epoch + 2);
}

TEST(PrefixIndexDeath, OnlyALeafLeaves) {
  PrefixIndex index(2, kIndexBlockTokens);
  const Sha256Digest root{};
  const Tokens tokens = {1, 2, 3, 4};
  const Sha256Digest h0 = sha256_chain(root, tokens), h1 = sha256_chain(h0, tokens);
  ASSERT_TRUE(index.insert(BlockId{0}, chain_block(kNoBlock, root, h0, tokens)));
  ASSERT_TRUE(index.insert(BlockId{1}, chain_block(BlockId{0}, root, h1, tokens)));
  EXPECT_DEATH(index.erase(BlockId{0}), "only a leaf leaves the index");
}

}  // namespace
}  // namespace stet::kv
