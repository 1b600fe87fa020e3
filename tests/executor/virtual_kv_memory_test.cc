// Virtual mode against paged mode, which is the oracle: random operations, refused calls, a full
// map table.
#include <gtest/gtest.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <ostream>
#include <random>
#include <string>

#include "stet/executor/kv_memory.h"

namespace stet::executor {
namespace {

constexpr SeqId kSeqA{1}, kSeqB{2}, kSeqC{3};
// 6 KiB: a slot does not end at a page's border by itself.
constexpr kernels::KvTileLayout kLayout = {
    .num_layers = 3, .num_kv_heads = 1, .head_dim = 8, .block_tokens = 64};
constexpr uint64_t kBlockBytes = kLayout.block_bytes();
constexpr uint32_t kMaxBlocks = 12;

std::unique_ptr<KvMemory> open(VirtualKvOptions options) {
  options.layout = kLayout;
  auto kv = open_virtual_kv_memory(options);
  EXPECT_TRUE(kv.ok()) << kv.status().to_string();
  return std::move(kv).value();
}

std::vector<BlockId> slot_list(std::initializer_list<uint32_t> ids) {
  std::vector<BlockId> result;
  for (uint32_t id : ids) {
    result.push_back(BlockId{id});
  }
  return result;
}

bool strided(const KvMemory& kv, SeqId seq) {
  return kv.view(seq).table == nullptr;
}

void fill_slot(KvMemory& kv, uint32_t slot, uint8_t value) {
  std::span<std::byte> bytes = kv.block(BlockId{slot});
  std::fill(bytes.begin(), bytes.end(), std::byte{value});
}

uint8_t first_byte_at(const KvMemory& kv, SeqId seq, uint32_t index) {
  return static_cast<uint8_t>(*kv.view(seq).block(index));
}

void write(const KvMemory& kv, SeqId seq, uint32_t index) {
  *static_cast<volatile std::byte*>(kv.view(seq).block(index)) = std::byte{1};
}
void read(const std::byte* address) {
  (void)*static_cast<const volatile std::byte*>(address);
}

TEST(VirtualKvMemory, RefusesAPoolWithoutBlocksAndBlocksThatAreNoTiles) {
  VirtualKvOptions options{.layout = kLayout};
  EXPECT_EQ(open_virtual_kv_memory(options).status().code(), StatusCode::kInvalidArgument);
  options.num_blocks = 1;
  options.layout.block_tokens = 96;
  EXPECT_EQ(open_virtual_kv_memory(options).status().code(), StatusCode::kInvalidArgument);
}

TEST(VirtualKvMemory, AViewIsOneStridedTensorWhateverTheSlots) {
  auto kv = open({.num_blocks = 8, .prefault_threads = 2});
  kv->create(kSeqA, 8);
  EXPECT_EQ(kv->view(kSeqA).num_blocks, 0u);
  kv->append(kSeqA, slot_list({5, 1, 2, 7}));
  const kernels::KvView view = kv->view(kSeqA);
  EXPECT_EQ(view.table, nullptr);
  EXPECT_EQ(view.stride, 8192u);
  EXPECT_EQ(kv->block(BlockId{0}).size(), kBlockBytes);
  for (uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(view.block(i), view.base + i * view.stride);
  }
  std::memset(view.block(1), 9, kBlockBytes);  // through the view, seen in the pool
  EXPECT_EQ(kv->block(BlockId{1})[kBlockBytes - 1], std::byte{9});
  fill_slot(*kv, 7, 3);  // and the other way
  EXPECT_EQ(first_byte_at(*kv, kSeqA, 3), 3);
}

TEST(VirtualKvMemory, OneCallMapsARunOfConsecutiveSlots) {
  auto kv = open({.num_blocks = 16});
  kv->create(kSeqA, 16);
  kv->append(kSeqA, slot_list({4}));  // reserves, too
  const uint64_t before = kv->stats().map_calls;
  kv->append(kSeqA, slot_list({5, 6, 7}));
  EXPECT_EQ(kv->stats().map_calls, before + 1);
  kv->append(kSeqA, slot_list({9, 10, 3, 2}));
  EXPECT_EQ(kv->stats().map_calls, before + 4);
}

// VMAs of the process between two addresses, as the kernel has them.
uint64_t count_maps(const std::byte* begin, const std::byte* end) {
  std::ifstream maps("/proc/self/maps");
  uint64_t num = 0;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t from = 0, to = 0;
    EXPECT_EQ(std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR, &from, &to), 2);
    num +=
        from < reinterpret_cast<uintptr_t>(end) && to > reinterpret_cast<uintptr_t>(begin) ? 1 : 0;
  }
  return num;
}

TEST(VirtualKvMemory, CountsMapsAsTheKernelDoes) {
  auto kv = open({.num_blocks = 16, .max_sequence_blocks = 16});
  kv->create(kSeqA, 16);
  std::mt19937 random(5);
  for (int step = 0; step < 300; ++step) {
    const kernels::KvView view = kv->view(kSeqA);
    const BlockId slot{static_cast<uint32_t>(random() % 16)};
    if (view.num_blocks < 16 && random() % 2 == 0) {
      random() % 2 == 0 ? kv->append(kSeqA, {&slot, 1}) : kv->share(kSeqA, {&slot, 1});
    } else if (view.num_blocks > 0) {
      kv->replace(kSeqA, static_cast<uint32_t>(random() % view.num_blocks), slot);
    }
    if (step % 40 == 39) {
      kv->truncate(kSeqA, view.num_blocks / 2);
    }
    if (const kernels::KvView now = kv->view(kSeqA); now.table == nullptr) {
      ASSERT_EQ(kv->stats().num_maps, count_maps(now.base - now.stride, now.base + 17 * now.stride))
          << "step " << step;
    }
  }
  EXPECT_GT(kv->stats().num_maps, 4u);
}

TEST(VirtualKvMemory, ANewSequenceTakesTheWarmRangeThatHoldsItsSlots) {
  auto kv = open({.num_blocks = 16});
  kv->create(kSeqA, 8);
  kv->create(kSeqB, 8);
  kv->append(kSeqA, slot_list({1, 2, 3}));
  kv->append(kSeqB, slot_list({7, 8, 9}));
  std::byte* const base_of_a = kv->view(kSeqA).base;
  kv->destroy(kSeqA);
  kv->destroy(kSeqB);
  EXPECT_EQ(kv->stats().num_warm_ranges, 2u);
  EXPECT_EQ(kv->stats().mapped_blocks, 0u);
  const uint64_t before = kv->stats().map_calls;
  kv->create(kSeqC, 8);
  kv->append(kSeqC, slot_list({1, 2, 3}));
  EXPECT_EQ(kv->view(kSeqC).base, base_of_a);
  EXPECT_EQ(kv->stats().map_calls, before) << "all of it was there";
  kv->create(kSeqA, 8);
  kv->append(kSeqA, slot_list({7, 11, 9}));
  EXPECT_EQ(kv->stats().map_calls, before + 1) << "one block differs";
  fill_slot(*kv, 11, 77);
  EXPECT_EQ(first_byte_at(*kv, kSeqA, 1), 77);
  EXPECT_EQ(kv->stats().num_warm_ranges, 0u);
}

TEST(VirtualKvMemory, CountsAliases) {
  auto kv = open({.num_blocks = 16});
  kv->create(kSeqA, 8);
  kv->create(kSeqB, 8);
  kv->append(kSeqA, slot_list({1, 2}));
  kv->share(kSeqB, slot_list({1, 2}));
  EXPECT_EQ(kv->stats().aliased_blocks, 2u);
  kv->privatise(kSeqB, 1, BlockId{3});
  EXPECT_EQ(kv->stats().aliased_blocks, 1u);
  EXPECT_EQ(kv->stats().copied_blocks, 1u);
  kv->replace(kSeqB, 1, BlockId{2});
  EXPECT_EQ(kv->stats().aliased_blocks, 2u);
  kv->truncate(kSeqB, 1);
  EXPECT_EQ(kv->stats().aliased_blocks, 1u);
  kv->destroy(kSeqB);
  EXPECT_EQ(kv->stats().aliased_blocks, 0u);
  EXPECT_EQ(kv->stats().mapped_blocks, 2u);
}

TEST(VirtualKvMemory, ASequenceLongerThanARangeIsPaged) {
  auto kv = open({.num_blocks = 8, .max_sequence_blocks = 2});
  kv->create(kSeqA, 8);
  kv->append(kSeqA, slot_list({4, 3}));
  EXPECT_TRUE(strided(*kv, kSeqA));
  fill_slot(*kv, 3, 5);
  kv->append(kSeqA, slot_list({1}));
  EXPECT_FALSE(strided(*kv, kSeqA));
  EXPECT_EQ(first_byte_at(*kv, kSeqA, 1), 5);
  EXPECT_EQ(kv->stats().paged_fallbacks, 1u);
}

TEST(VirtualKvMemory, NearTheMapLimitNewSequencesArePagedUntilMapsComeBack) {
  auto kv = open({.num_blocks = 64, .max_sequence_blocks = 64, .max_maps = 100});
  std::vector<BlockId> odd;  // no two of them neighbours
  for (uint32_t i = 0; i < 20; ++i) {
    odd.push_back(BlockId{2 * i + 1});
  }
  uint64_t num_strided = 0;
  for (uint64_t seq = 1; seq <= 8; ++seq) {
    kv->create(SeqId{seq}, 64);
    kv->append(SeqId{seq}, odd);
    num_strided += strided(*kv, SeqId{seq}) ? 1 : 0;
    EXPECT_EQ(first_byte_at(*kv, SeqId{seq}, 19), 0);
    EXPECT_LE(kv->stats().num_maps, 90u);
  }
  EXPECT_GE(num_strided, 3u);
  EXPECT_LT(num_strided, 8u);
  EXPECT_EQ(kv->stats().paged_fallbacks, 8 - num_strided);
  for (uint64_t seq = 1; seq <= 8; ++seq) {
    kv->destroy(SeqId{seq});
  }
  std::reverse(odd.begin(), odd.end());
  kv->create(SeqId{9}, 64);
  kv->append(SeqId{9}, odd);  // warm ranges gave their maps back
  EXPECT_TRUE(strided(*kv, SeqId{9}));
}

// Page tables are memory: at most five times the pool is mapped, however much is shared.
TEST(VirtualKvMemory, WhoWouldShareMoreThanTheMappingBudgetIsPaged) {
  auto kv = open({.num_blocks = 4});
  for (uint64_t seq = 1; seq <= 8; ++seq) {
    kv->create(SeqId{seq}, 4);
    kv->share(SeqId{seq}, slot_list({0, 1, 2, 3}));
    EXPECT_EQ(strided(*kv, SeqId{seq}), seq <= 4) << seq;
  }
  for (uint64_t seq = 1; seq <= 8; ++seq) {
    kv->destroy(SeqId{seq});
  }
  kv->create(kSeqA, 4);
  kv->append(kSeqA, slot_list({3, 2}));
  EXPECT_TRUE(strided(*kv, kSeqA)) << "warm ranges are unmapped for it";
}

// Both memories, driven alike; the test knows which operations the product may do.
class Pair {
 public:
  Pair(VirtualKvOptions options, uint64_t seed) : random_(seed) {
    options.num_blocks = kSlots;
    options.max_sequence_blocks = kMaxBlocks;
    virtual_ = open(options);
    auto paged =
        open_paged_kv_memory({.layout = kLayout, .num_blocks = kSlots, .poison = options.poison});
    EXPECT_TRUE(paged.ok());
    paged_ = std::move(paged).value();
  }

  KvMemory& kv() { return *virtual_; }
  size_t num_strided() const {
    return static_cast<size_t>(std::count_if(live_.begin(), live_.end(), [&](const auto& entry) {
      return strided(*virtual_, entry.first);
    }));
  }

  void step() {
    if (live_.empty() || (live_.size() < 10 && random_() % 12 == 0)) {
      const SeqId seq{next_seq_++};
      both([&](KvMemory& kv) { kv.create(seq, kMaxBlocks); });
      live_[seq];
      return;
    }
    const auto it = std::next(live_.begin(), static_cast<ptrdiff_t>(random_() % live_.size()));
    change(it->first, it->second);
  }

  void destroy_all() {
    for (const auto& [seq, sequence] : live_) {
      both([id = seq](KvMemory& kv) { kv.destroy(id); });
    }
    live_.clear();
  }

  // Every byte that a kernel could see.
  ::testing::AssertionResult same() const {
    if (virtual_->stats().mapped_blocks != paged_->stats().mapped_blocks ||
        virtual_->stats().copied_blocks != paged_->stats().copied_blocks) {
      return ::testing::AssertionFailure() << "stats differ";
    }
    for (const auto& [seq, sequence] : live_) {
      const kernels::KvView found = virtual_->view(seq), expected = paged_->view(seq);
      if (found.num_blocks != expected.num_blocks || found.block_tokens != expected.block_tokens) {
        return ::testing::AssertionFailure() << "shape of sequence " << seq.v;
      }
      for (uint32_t i = sequence.front; i < expected.num_blocks; ++i) {
        if (std::memcmp(found.block(i), expected.block(i), kBlockBytes) != 0) {
          return ::testing::AssertionFailure() << "sequence " << seq.v << ", block " << i;
        }
      }
    }
    return ::testing::AssertionSuccess();
  }

 private:
  static constexpr uint32_t kSlots = 40;
  struct Sequence {
    std::vector<bool> writable;
    uint32_t front = 0;
  };

  template <class F>
  void both(F&& f) {
    f(*virtual_);
    f(*paged_);
  }
  // Often neighbours, so that there are runs.
  std::vector<BlockId> some_slots(uint32_t most) {
    std::vector<BlockId> result(1 + random_() % most);
    for (size_t i = 0; i < result.size(); ++i) {
      const bool neighbour = i > 0 && random_() % 3 != 0;
      result[i].v = static_cast<uint32_t>(neighbour ? result[i - 1].v + 1 : random_()) % kSlots;
    }
    return result;
  }

  void change(SeqId seq, Sequence& s) {
    const auto num = static_cast<uint32_t>(s.writable.size());
    const uint32_t held = num - s.front;
    const uint32_t index = s.front + (held == 0 ? 0 : static_cast<uint32_t>(random_() % held));
    const BlockId slot{static_cast<uint32_t>(random_() % kSlots)};
    switch (random_() % 10) {
      case 0:
      case 1:
      case 2:
        if (num < kMaxBlocks) {
          const bool writable = random_() % 3 != 0;
          const auto taken = some_slots(kMaxBlocks - num);
          both([&](KvMemory& kv) { writable ? kv.append(seq, taken) : kv.share(seq, taken); });
          s.writable.resize(num + taken.size(), writable);
        }
        break;
      case 3:
        if (held > 0 && paged_->view(seq).table[index] != slot.v) {
          both([&](KvMemory& kv) { kv.privatise(seq, index, slot); });
          s.writable[index] = true;
        }
        break;
      case 4:
        if (held > 0) {
          both([&](KvMemory& kv) { kv.replace(seq, index, slot); });
          s.writable[index] = false;
        }
        break;
      case 5: {
        const auto kept = s.front + static_cast<uint32_t>(random_() % (held + 1));
        both([&](KvMemory& kv) { kv.truncate(seq, kept); });
        s.writable.resize(kept);
        break;
      }
      case 6:
        if (random_() % 4 == 0) {
          s.front = index;
          both([&](KvMemory& kv) { kv.drop_front(seq, index); });
        }
        break;
      case 7:
        if (slot.v != 0) {
          both([&](KvMemory& kv) { kv.copy(BlockId{0}, slot); });
        }
        break;
      case 8:
        if (held > 0 && s.writable[index]) {  // as a kernel writes: through the view
          const size_t at = random_() % kBlockBytes;
          const auto value = static_cast<std::byte>(random_());
          both([&](KvMemory& kv) { kv.view(seq).block(index)[at] = value; });
        }
        break;
      case 9:
        if (random_() % 4 == 0) {
          both([&](KvMemory& kv) { kv.destroy(seq); });
          live_.erase(seq);
        }
        break;
    }
  }

  std::mt19937_64 random_;
  std::unique_ptr<KvMemory> virtual_, paged_;
  std::map<SeqId, Sequence> live_;
  uint64_t next_seq_ = 1;
};

struct FuzzCase {
  const char* name;
  bool poison, guard;
  uint64_t max_maps;
  uint32_t fail_one_in;  // 0 = no call fails
};
void PrintTo(const FuzzCase& c, std::ostream* out) {
  *out << c.name;
}

class VirtualKvFuzz : public ::testing::TestWithParam<FuzzCase> {};

TEST_P(VirtualKvFuzz, RandomOperationsEqualPagedMemory) {
  const FuzzCase& c = GetParam();
  uint64_t num_strided = 0, num_seen = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    std::mt19937_64 chance(seed);
    auto fail = [&](uint64_t) { return c.fail_one_in != 0 && chance() % c.fail_one_in == 0; };
    Pair pair({.poison = c.poison, .guard = c.guard, .max_maps = c.max_maps, .fail_map = fail},
              seed);
    for (int step = 0; step < 2500; ++step) {
      pair.step();
      ASSERT_TRUE(pair.same()) << "seed " << seed << ", step " << step;
      num_strided += pair.num_strided();
      ++num_seen;
    }
    if (c.max_maps != 0) {
      EXPECT_LE(pair.kv().stats().num_maps, c.max_maps * 9 / 10);
    }
    EXPECT_EQ(pair.kv().stats().paged_fallbacks > 0, c.max_maps != 0 || c.fail_one_in != 0);
    pair.destroy_all();
    EXPECT_EQ(pair.kv().stats().mapped_blocks, 0u);
    EXPECT_EQ(pair.kv().stats().aliased_blocks, 0u);
  }
  EXPECT_GT(num_strided, num_seen / 10) << "the virtual form must really be seen";
}

INSTANTIATE_TEST_SUITE_P(All, VirtualKvFuzz,
                         ::testing::Values(FuzzCase{"plain", false, false, 0, 0},
                                           FuzzCase{"poison", true, false, 0, 0},
                                           FuzzCase{"guard", true, true, 0, 0},
                                           FuzzCase{"limit", true, false, 100, 0},
                                           FuzzCase{"limit_guard", true, true, 60, 0},
                                           FuzzCase{"failures", true, false, 0, 200},
                                           FuzzCase{"failures_guard", true, true, 0, 400}),
                         [](const auto& param_info) { return param_info.param.name; });

// kv.md sec. 13.8: the n-th call fails, for every n.
TEST(VirtualKvMemory, AFailedCallMakesASequencePagedAndNothingElse) {
  uint64_t num_calls = 1;
  for (uint64_t n = 0; n < num_calls && n < 200; ++n) {
    bool failed = false;
    auto fail = [&](uint64_t call) {
      failed = failed || call == n;
      return call == n;
    };
    Pair pair({.poison = true, .guard = true, .fail_map = fail}, 3);
    for (int step = 0; step < 150; ++step) {
      pair.step();
      ASSERT_TRUE(pair.same()) << "call " << n << ", step " << step;
    }
    num_calls = pair.kv().stats().map_calls;
    EXPECT_TRUE(failed);
    EXPECT_LE(pair.kv().stats().paged_fallbacks, 1u);
  }
  EXPECT_GT(num_calls, 40u);
}

TEST(VirtualKvMemory, ASystemThatAlwaysRefusesIsAskedSixteenTimes) {
  auto kv = open({.num_blocks = 4, .fail_map = [](uint64_t) { return true; }});
  for (uint64_t seq = 1; seq <= 30; ++seq) {
    kv->create(SeqId{seq}, 4);
    kv->append(SeqId{seq}, slot_list({2, 1}));
    EXPECT_FALSE(strided(*kv, SeqId{seq}));
  }
  EXPECT_EQ(kv->stats().map_calls, 16u);
  EXPECT_EQ(kv->stats().paged_fallbacks, 30u);
}

TEST(VirtualKvMemoryDeathTest, AWriteThroughAnAliasFaults) {
  auto kv = open({.num_blocks = 8});
  kv->create(kSeqA, 8);
  kv->create(kSeqB, 8);
  kv->append(kSeqA, slot_list({1, 2, 3}));
  kv->share(kSeqB, slot_list({1, 2}));
  write(*kv, kSeqA, 0);  // the control
  EXPECT_EQ(first_byte_at(*kv, kSeqB, 0), 1);
  EXPECT_DEATH(write(*kv, kSeqB, 0), "");
  kv->replace(kSeqA, 1, BlockId{5});
  EXPECT_DEATH(write(*kv, kSeqA, 1), "");
  kv->privatise(kSeqB, 0, BlockId{6});
  write(*kv, kSeqB, 0);
  kv->destroy(kSeqA);  // its range is warm and slot 3 was writable there
  kv->create(kSeqC, 8);
  kv->share(kSeqC, slot_list({1, 2, 3}));
  EXPECT_DEATH(write(*kv, kSeqC, 2), "");
  EXPECT_DEATH(write(*kv, kSeqC, 0), "");
}

TEST(VirtualKvMemoryDeathTest, GuardsFault) {
  auto kv = open({.num_blocks = 4, .max_sequence_blocks = 4, .guard = true});
  kv->create(kSeqA, 4);
  kv->append(kSeqA, slot_list({0, 1, 2, 3}));
  const kernels::KvView view = kv->view(kSeqA);
  read(view.base);
  read(view.base + 4 * view.stride - 1);
  EXPECT_DEATH(read(view.base - 1), "");
  EXPECT_DEATH(read(view.base + 4 * view.stride), "");
  kv->truncate(kSeqA, 3);
  EXPECT_DEATH(read(view.base + 3 * view.stride), "");
  kv->drop_front(kSeqA, 1);
  EXPECT_DEATH(read(view.base), "");
  read(view.base + view.stride);
  kv->destroy(kSeqA);
  EXPECT_DEATH(read(view.base + view.stride), "");
}

TEST(VirtualKvMemoryDeathTest, BrokenOrderOfCallsIsABrokenInvariant) {
  auto kv = open({.num_blocks = 2});
  kv->create(kSeqA, 1);
  EXPECT_DEATH(kv->create(kSeqA, 1), "created once");
  EXPECT_DEATH(kv->append(kSeqA, slot_list({2})), "within the pool");
  EXPECT_DEATH(kv->append(kSeqA, slot_list({0, 1})), "max_blocks");
  EXPECT_DEATH((void)kv->view(kSeqB), "unknown sequence");
}

}  // namespace
}  // namespace stet::executor
