#include "stet/sched/waiting_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

namespace stet::sched {
namespace {

constexpr uint32_t kPromptTokens = 7 * 64;

WaitingItem item(uint64_t seq, uint64_t order_key, uint64_t late_at_us = UINT64_MAX) {
  return {.seq = SeqId{seq},
          .order_key = order_key,
          .request = seq,
          .late_at_us = late_at_us,
          .num_prompt_tokens = kPromptTokens};
}

std::vector<uint64_t> walk(const WaitingQueue& queue) {
  std::vector<uint64_t> seqs;
  WaitingQueue::Walk forth = queue.walk();
  for (SeqId seq = forth.next(); seq != SeqId{}; seq = forth.next()) {
    seqs.push_back(seq.v);
    forth.charge(kPromptTokens);
  }
  std::vector<uint64_t> back;
  for (SeqId seq = queue.last(); seq != SeqId{}; seq = queue.before(seq)) {
    back.push_back(seq.v);
  }
  std::reverse(back.begin(), back.end());
  EXPECT_EQ(seqs, back);
  EXPECT_EQ(queue.check_integrity().to_string(), Status().to_string());
  return seqs;
}
using Seqs = std::vector<uint64_t>;

TEST(WaitingQueue, SmallerKeysGoFirstThenOlderRequestsThenChoicesInOrder) {
  WaitingQueue queue({});
  WaitingItem second = item(4, 10);
  second.request = 2;
  second.choice = 1;
  queue.insert(second, 0);
  queue.insert(item(3, 10), 0);
  queue.insert(item(2, 10), 0);
  queue.insert(item(9, 5), 0);
  EXPECT_EQ(walk(queue), (Seqs{9, 2, 4, 3}));
  queue.erase(SeqId{2});
  EXPECT_EQ(walk(queue), (Seqs{9, 4, 3}));
}

TEST(WaitingQueue, WhoHasMissedItsTargetYieldsToThoseThatHaveNot) {
  WaitingQueue queue({});
  queue.insert(item(1, 1, 100), 0);
  queue.insert(item(2, 2), 0);
  queue.insert(item(3, 3, 300), 0);
  queue.prepare(99);
  EXPECT_EQ(walk(queue), (Seqs{1, 2, 3}));
  queue.prepare(100);
  EXPECT_EQ(walk(queue), (Seqs{2, 3, 1}));
  EXPECT_EQ(queue.num_late(), 1u);
  queue.prepare(1000);
  EXPECT_EQ(walk(queue), (Seqs{2, 1, 3}));  // the late ones first come, first served
  queue.insert(item(4, 4, 900), 1000);      // comes back late
  EXPECT_EQ(walk(queue), (Seqs{2, 1, 3, 4}));
  for (const uint64_t seq : {1, 2, 3, 4}) {
    queue.erase(SeqId{seq});
  }
  EXPECT_EQ(queue.num_late(), 0u);
  EXPECT_EQ(walk(queue), Seqs{});
}

TEST(WaitingQueue, TwentyThousandRandomChangesKeepTheOrder) {
  uint64_t state = 3;
  const auto below = [&state](uint64_t n) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state >> 33) % n;
  };
  WaitingQueue queue({});
  std::vector<WaitingItem> naive;
  uint64_t now = 0, next_seq = 1;
  for (int i = 0; i < 20'000; ++i) {
    now += below(5);
    if (naive.size() < 40 && below(2) == 0) {
      const uint64_t late = below(2) == 0 ? UINT64_MAX : now + below(200);
      naive.push_back(item(next_seq++, now - std::min(now, below(50)), late));
      queue.insert(naive.back(), now);
    } else if (!naive.empty()) {
      const size_t at = below(naive.size());
      queue.erase(naive[at].seq);
      naive.erase(naive.begin() + static_cast<ptrdiff_t>(at));
    }
    queue.prepare(now);
    std::sort(naive.begin(), naive.end(), [&](const WaitingItem& a, const WaitingItem& b) {
      return std::tuple(now >= a.late_at_us, a.order_key, a.request) <
             std::tuple(now >= b.late_at_us, b.order_key, b.request);
    });
    if (i % 50 == 0) {
      Seqs expected;
      for (const WaitingItem& one : naive) {
        expected.push_back(one.seq.v);
      }
      ASSERT_EQ(walk(queue), expected) << "change " << i;
    }
  }
}

// ---- groups

class Grouped : public testing::Test {
 protected:
  // Six blocks of its family, then one of its own.
  void add(uint64_t seq, uint64_t order_key, char family, ServiceClass service_class,
           bool returned = false) {
    auto& chain = chains_.emplace_back();
    for (int i = 0; i < 7; ++i) {
      const std::string text = family + std::to_string(i == 6 ? 1000 + seq : i);
      chain.push_back(sha256(std::as_bytes(std::span(text))));
    }
    WaitingItem one = item(seq, order_key);
    one.returned = returned;
    one.service_class = service_class;
    one.expected_outputs = 10;
    one.chain = chain;
    queue_.insert(one, 0);
  }
  void add(uint64_t seq, uint64_t order_key, char family) {
    add(seq, order_key, family, ServiceClass::kInteractive);
  }
  bool adjacent(const Seqs& seqs, uint64_t a, uint64_t b) const {
    const auto at = [&](uint64_t s) {
      return std::find(seqs.begin(), seqs.end(), s) - seqs.begin();
    };
    return std::abs(at(a) - at(b)) == 1;
  }
  std::deque<std::vector<Sha256Digest>> chains_;
  WaitingQueue queue_{{.group_prefixes = true, .block_tokens = 64, .group_window_us = 100}};
};

TEST_F(Grouped, WithinAWindowFamiliesRunBackToBackAndWindowsStayInOrder) {
  add(1, 10, 'a');
  add(2, 20, 'b');
  add(3, 30, 'a');
  add(4, 40, 'b');
  add(5, 110, 'a');  // the next window
  queue_.prepare(0);
  const Seqs seqs = walk(queue_);
  EXPECT_TRUE(adjacent(seqs, 1, 3));
  EXPECT_TRUE(adjacent(seqs, 2, 4));
  EXPECT_EQ(seqs.back(), 5u);
}

TEST_F(Grouped, BatchIsOneWindowBehindAllAndWhoReturnsGoesAheadOfIt) {
  add(1, 10, 'a', ServiceClass::kBatch);
  add(2, 5'000, 'b', ServiceClass::kBatch);
  add(3, 90'000, 'a', ServiceClass::kBatch);
  add(4, 95'000, 'c');
  queue_.prepare(0);
  Seqs seqs = walk(queue_);
  EXPECT_EQ(seqs.front(), 4u);
  EXPECT_TRUE(adjacent(seqs, 1, 3));
  add(5, 99'000, 'd', ServiceClass::kBatch, true);
  queue_.prepare(0);
  seqs = walk(queue_);
  EXPECT_EQ(seqs[1], 5u);
}

TEST_F(Grouped, AStreamedJobIsOrderedAnewOnlyWhenItHasGrown) {
  for (uint64_t seq = 1; seq <= 8; ++seq) {
    add(seq, seq, seq % 2 == 0 ? 'a' : 'b', ServiceClass::kBatch);
  }
  queue_.prepare(0);
  add(9, 9, 'a', ServiceClass::kBatch);
  queue_.prepare(0);
  EXPECT_EQ(walk(queue_).back(), 9u);  // one of nine is not worth it
  add(10, 10, 'b', ServiceClass::kBatch);
  add(11, 11, 'b', ServiceClass::kBatch);
  add(12, 12, 'b', ServiceClass::kBatch);
  queue_.prepare(0);
  const Seqs seqs = walk(queue_);
  const auto is_a = [](uint64_t seq) { return seq == 9 || (seq <= 8 && seq % 2 == 0); };
  EXPECT_TRUE(std::is_partitioned(seqs.begin(), seqs.end(), is_a) ||
              std::is_partitioned(seqs.begin(), seqs.end(), std::not_fn(is_a)));
}

TEST_F(Grouped, TheLastOfAJobFindTheirGroupWhenNobodyElseComes) {
  for (uint64_t seq = 1; seq <= 8; ++seq) {
    add(seq, seq, seq % 2 == 0 ? 'a' : 'b', ServiceClass::kBatch);
  }
  queue_.prepare(0);
  const uint64_t first = walk(queue_).front();
  add(9, 9, first % 2 == 0 ? 'a' : 'b', ServiceClass::kBatch);
  queue_.prepare(0);
  EXPECT_EQ(walk(queue_).back(), 9u);
  queue_.prepare(0);
  const Seqs seqs = walk(queue_);
  EXPECT_LT(std::find(seqs.begin(), seqs.end(), 9) - seqs.begin(), 5);
}

}  // namespace
}  // namespace stet::sched
