// Group attention gives every member the bits of attention() for it alone (C5, last rule).
#include <gtest/gtest.h>

#include "tests/kernels/inputs.h"
#include "tests/support/wrong_group.h"

namespace stet::kernels {
namespace {

using test::Buffer;
using test::Rng;

struct GroupCase {
  uint32_t members = 2;
  uint32_t shared = 256;  // tokens
  uint32_t max_tail = 200;
  uint32_t window = 0;
  uint32_t heads = 3;
  uint32_t head_dim = 64;
  uint32_t block_tokens = 64;
};

std::ostream& operator<<(std::ostream& out, const GroupCase& c) {
  return out << c.members << " members, " << c.shared << " shared, tails up to " << c.max_tail
             << ", window " << c.window << ", " << c.heads << " heads of " << c.head_dim
             << ", blocks of " << c.block_tokens;
}

// A pool in which members hold the same blocks below `shared` and blocks of their own above. What
// nobody may read is NaN: slots beyond a member's position, memory between the heads, and shared
// slots before every window.
class Group {
 public:
  Group(Rng& rng, const GroupCase& c) : c_(c), layout_{1, 2, c.head_dim, c.block_tokens} {
    const uint32_t num_shared = c.shared / c.block_tokens;
    const uint32_t max_own = c.max_tail / c.block_tokens + 1;
    bytes_.resize((num_shared + size_t{c.members} * max_own) * layout_.block_bytes(),
                  std::byte{0xFF});
    uint32_t first_seen = UINT32_MAX;
    for (uint32_t m = 0; m < c.members; ++m) {
      // The first member may end right at the border, the last has the longest tail.
      const uint32_t tail = m == 0               ? 0
                            : m + 1 == c.members ? c.max_tail
                                                 : rng.below(c.max_tail + 1);
      pos_.push_back(c.shared + tail);
      first_seen = std::min(first_seen, first_of(pos_.back()));
      tables_.emplace_back();
      for (uint32_t b = 0; b < num_shared; ++b) {
        tables_.back().push_back(num_shared - 1 - b);  // no run of neighbours
      }
      for (uint32_t b = 0; b < max_own; ++b) {
        tables_.back().push_back(num_shared + b * c.members + m);
      }
    }
    for (uint32_t pos = first_seen; pos < c.shared; ++pos) {
      write(rng, 0, pos);
    }
    for (uint32_t m = 0; m < c.members; ++m) {
      for (uint32_t pos = std::max(c.shared, first_of(pos_[m])); pos <= pos_[m]; ++pos) {
        write(rng, m, pos);
      }
    }
    q_.resize(c.members * width());
    for (uint16_t& x : q_) {
      x = float_to_bf16(rng.normal() * 0.3f);
    }
  }

  Buffer<float> together(const KernelTable& table) const {
    Buffer<float> out(c_.members * width());
    table.attention_group(args(out.data(), nullptr).group);
    return out;
  }

  Buffer<float> one_by_one(const KernelTable& table) const {
    Buffer<float> out(c_.members * width());
    for (uint32_t m = 0; m < c_.members; ++m) {
      table.attention(alone(m, out.data()));
    }
    return out;
  }

  // Shared segments for all, the others member by member, in any order; then every member's merge.
  Buffer<float> by_segments(const KernelTable& table) const {
    Buffer<float> out(c_.members * width());
    const uint32_t num_segments = (c_.shared + c_.max_tail) / kSegment + 1;
    const uint32_t num_shared = (c_.shared + kSegment - 1) / kSegment;
    const size_t per_segment = size_t{c_.heads} * attention_state_stride(c_.head_dim);
    Buffer<float> states(c_.members * num_segments * per_segment, -7.0f);
    const auto at = [&](uint32_t m, uint32_t segment) {
      return states.data() + (m * num_segments + segment) * per_segment;
    };
    for (uint32_t segment = num_segments; segment-- > 0;) {
      if (segment < num_shared) {
        Args a = args(out.data(), nullptr);
        for (uint32_t m = 0; m < c_.members; ++m) {
          a.members[m].states = at(m, segment);
        }
        table.attention_group_segment(a.group, segment);
        continue;
      }
      for (uint32_t m = 0; m < c_.members; ++m) {
        table.attention_segment(alone(m, out.data()), segment, at(m, segment));
      }
    }
    for (uint32_t m = 0; m < c_.members; ++m) {
      table.attention_merge(alone(m, out.data()), at(m, 0), pos_[m] / kSegment + 1);
    }
    return out;
  }

 private:
  struct Args {
    std::vector<GroupMember> members;
    GroupAttentionArgs group;
  };
  size_t width() const { return size_t{c_.heads} * c_.head_dim; }
  uint32_t first_of(uint32_t pos) const {
    return c_.window != 0 && pos >= c_.window ? pos - c_.window + 1 : 0;
  }
  KvView view(uint32_t m) const {
    return {const_cast<std::byte*>(bytes_.data()), tables_[m].data(), layout_.block_bytes(),
            static_cast<uint32_t>(tables_[m].size()), c_.block_tokens};
  }
  void write(Rng& rng, uint32_t m, uint32_t pos) {
    const Buffer<float> k = test::floats(rng, c_.head_dim);
    const Buffer<float> v = test::floats(rng, c_.head_dim);
    std::byte* tile = view(m).block(pos / c_.block_tokens) + layout_.offset(0, 1) +
                      pos % c_.block_tokens / kTile * 2 * layout_.half_tile_bytes();
    best_table().rope_store_kv(RopeStyle::kHalves, k.data(), v.data(), nullptr, nullptr,
                               c_.head_dim, 0, tile, pos % kTile);
  }
  AttentionArgs alone(uint32_t m, float* out) const {
    AttentionArgs a;
    a.kv = view(m);
    a.head_offset = layout_.offset(0, 1);
    a.head_dim = c_.head_dim;
    a.num_heads = c_.heads;
    a.first_pos = pos_[m];
    a.num_queries = 1;
    a.window = c_.window;
    a.q = q_.data() + m * width();
    a.ldq = a.ldo = width();
    a.out = out + m * width();
    return a;
  }
  Args args(float* out, float* states) const {
    Args a;
    for (uint32_t m = 0; m < c_.members; ++m) {
      a.members.push_back({view(m), pos_[m], q_.data() + m * width(), out + m * width(), states});
    }
    a.group = {.members = a.members.data(),
               .num_members = c_.members,
               .shared_tokens = c_.shared,
               .head_offset = layout_.offset(0, 1),
               .head_dim = c_.head_dim,
               .num_heads = c_.heads,
               .window = c_.window};
    return a;
  }

  const GroupCase c_;
  const KvTileLayout layout_;
  Buffer<std::byte> bytes_;
  std::vector<std::vector<uint32_t>> tables_;
  std::vector<uint32_t> pos_;
  Buffer<uint16_t> q_;
};

class GroupAttention : public ::testing::Test {
 protected:
  void SetUp() override { set_float_environment(); }
  void expect_equal(const GroupCase& c, const KernelTable& definition) {
    const Group group(rng_, c);
    const Buffer<float> expected = group.one_by_one(definition);
    for (const float x : expected) {
      ASSERT_TRUE(std::isfinite(x)) << c;
    }
    for (const KernelTable* table : test::runnable_tables()) {
      if (table->attention_group == test::scalar_table().attention_group && &definition != table) {
        continue;  // software fma: the small cases show it
      }
      ASSERT_TRUE(test::same_bits(group.together(*table), expected)) << table->name << ": " << c;
      ASSERT_TRUE(test::same_bits(group.by_segments(*table), expected))
          << table->name << " by segments: " << c;
    }
  }
  Rng rng_{31};
};

TEST_F(GroupAttention, EqualsTheDefinition) {
  const GroupCase cases[] = {
      {.members = 2, .shared = 256, .max_tail = 0},
      {.members = 3, .shared = 512, .max_tail = 70, .heads = 1},
      {.members = 5, .shared = 576, .max_tail = 600, .heads = 2, .head_dim = 32},
      {.members = 4, .shared = 512, .max_tail = 600, .window = 300, .heads = 2},
      {.members = 3, .shared = 320, .max_tail = 90, .head_dim = 10},
      {.members = 2, .shared = 384, .max_tail = 30, .heads = 17, .block_tokens = 128},
  };
  for (const GroupCase& c : cases) {
    expect_equal(c, test::scalar_table());
  }
}

// Against attention() of the best table, which other tests compare with the definition.
TEST_F(GroupAttention, EqualsUngroupedAttentionOverAllShapes) {
  const GroupCase cases[] = {
      {.members = 16, .shared = 7936, .max_tail = 64},
      {.members = 17, .shared = 1024, .max_tail = 600},
      {.members = 9, .shared = 8192, .max_tail = 130, .heads = 9},
      {.members = 8, .shared = 1472, .max_tail = 600, .heads = 4, .head_dim = 128},
      {.members = 17, .shared = 960, .max_tail = 300, .heads = 4, .head_dim = 256},
      {.members = 6, .shared = 2048, .max_tail = 550, .heads = 7, .head_dim = 80},
      {.members = 70, .shared = 512, .max_tail = 100},  // more than one pass
      {.members = 7, .shared = 3072, .max_tail = 64, .heads = 1, .block_tokens = 256},
      {.members = 6, .shared = 960, .max_tail = 600, .heads = 3, .head_dim = 10},
  };
  for (const GroupCase& c : cases) {
    expect_equal(c, best_table());
  }
}

// Members at different positions see different parts of the shared tiles, or nothing of them.
TEST_F(GroupAttention, WindowsCutTheSharedPartForEachMemberAlone) {
  for (const uint32_t window : {1u, 63u, 64u, 65u, 500u, 512u, 513u, 1000u, 5000u}) {
    expect_equal({.members = 9, .shared = 1088, .max_tail = 600, .window = window}, best_table());
    expect_equal({.members = 4, .shared = 512, .max_tail = 64, .window = window, .head_dim = 48},
                 best_table());
  }
}

TEST_F(GroupAttention, RandomShapesEqualUngroupedAttention) {
  Rng random(77);
  for (int i = 0; i < 60; ++i) {
    GroupCase c;
    c.block_tokens = kTile << random.below(3);
    c.members = 2 + random.below(16);
    c.shared = round_up(256 + random.below(1800), c.block_tokens);
    c.max_tail = random.below(601);
    c.window = random.below(3) == 0 ? 1 + random.below(2500) : 0;
    c.heads = 1 + random.below(9);
    c.head_dim = 16 * (1 + random.below(9));
    expect_equal(c, best_table());
  }
}

// The comparison must be able to fail: mistakes that only a grouped kernel can make.
TEST_F(GroupAttention, PlantedMistakesChangeTheBits) {
  const GroupCase c = {.members = 5, .shared = 1088, .max_tail = 900};
  const Group group(rng_, c);
  const Buffer<float> expected = group.one_by_one(best_table());
  ASSERT_EQ(wrong_group_tables().size(), 3u);
  for (const WrongKernels& wrong : wrong_group_tables()) {
    EXPECT_FALSE(test::same_bits(group.together(wrong.table), expected)) << wrong.name;
    EXPECT_TRUE(test::same_bits(group.one_by_one(wrong.table), expected)) << wrong.name;
  }
}

}  // namespace
}  // namespace stet::kernels
