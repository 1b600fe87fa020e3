// Fairness between clients: counters, the order they give, and the bound on how far two clients
// that always wait can be apart (VTC, OSDI 2024).
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "stet/base/check.h"
#include "stet/sched/client_shares.h"
#include "stet/sched/waiting_queue.h"
#include "tests/sched/estimator_cases.h"

namespace stet::sched {
namespace {

// ---- counters

TEST(ClientShares, WhoBeginsToWaitIsLiftedToTheLeastServedOfThoseThatDo) {
  ClientShares shares;
  const ClientId a = shares.open("a"), b = shares.open("b"), c = shares.open("c");
  shares.begin_waiting(a);
  shares.charge(a, 100);
  shares.begin_waiting(b);
  EXPECT_EQ(shares.served(b), 100) << "no credit for idling";
  shares.charge(b, 50);
  shares.begin_waiting(c);
  EXPECT_EQ(shares.served(c), 100);
  EXPECT_EQ(shares.open("b"), b);
}

TEST(ClientShares, WhoWasServedMuchKeepsIt) {
  ClientShares shares;
  const ClientId a = shares.open("a"), b = shares.open("b");
  shares.begin_waiting(a);
  shares.begin_waiting(b);
  shares.end_waiting(b);
  shares.charge(b, 500);  // it runs, and nothing of it waits
  shares.close(b);
  EXPECT_EQ(shares.open("b"), b);
  shares.begin_waiting(b);
  EXPECT_EQ(shares.served(b), 500);
}

TEST(ClientShares, WhenNobodyWaitsTheLastOneThatDidIsTheMeasure) {
  ClientShares shares;
  const ClientId a = shares.open("a"), b = shares.open("b");
  shares.begin_waiting(a);
  shares.charge(a, 70);
  shares.end_waiting(a);
  shares.begin_waiting(b);
  EXPECT_EQ(shares.served(b), 70);
}

TEST(ClientShares, IdleClientsThatWereServedLeastAreForgottenFirst) {
  ClientShares shares;
  for (size_t i = 0; i < ClientShares::kMaxIdle + 10; ++i) {
    const ClientId id = shares.open("client " + std::to_string(i));
    shares.charge(id, 1.0 + static_cast<double>(i));
    shares.close(id);
  }
  EXPECT_EQ(shares.size(), ClientShares::kMaxIdle + 1) << "and the anonymous one";
  EXPECT_EQ(shares.served(shares.open("client 9")), 0.0);
  EXPECT_EQ(shares.served(shares.open("client 12")), 13.0);
}

// ---- the order

WaitingItem of_client(ClientId client, uint64_t seq, uint64_t order_key, uint32_t num_tokens) {
  return {.seq = SeqId{seq},
          .client = client,
          .order_key = order_key,
          .request = seq,
          .num_prompt_tokens = num_tokens};
}

std::vector<uint64_t> walk(const WaitingQueue& queue, const std::map<uint64_t, double>& costs) {
  std::vector<uint64_t> seqs;
  WaitingQueue::Walk walk = queue.walk();
  for (SeqId seq = walk.next(); seq != SeqId{}; seq = walk.next()) {
    seqs.push_back(seq.v);
    const auto cost = costs.find(seq.v);
    walk.charge(cost == costs.end() ? 0.0 : cost->second);
  }
  return seqs;
}
using Seqs = std::vector<uint64_t>;

TEST(FairOrder, ClientsTakeTurnsByWhatTheirRequestsCost) {
  WaitingQueue queue({});
  const ClientId a = queue.open_client("a"), b = queue.open_client("b");
  std::map<uint64_t, double> costs;
  for (uint64_t i = 0; i < 4; ++i) {
    queue.insert(of_client(a, 1 + i, i, 10), 0);
    costs[1 + i] = 10;
  }
  for (uint64_t i = 0; i < 2; ++i) {
    queue.insert(of_client(b, 11 + i, 100 + i, 25), 0);
    costs[11 + i] = 25;
  }
  EXPECT_EQ(walk(queue, costs), (Seqs{1, 11, 2, 3, 12, 4}));
  EXPECT_EQ(walk(queue, {}), (Seqs{1, 2, 3, 4, 11, 12})) << "a cached prompt costs nothing";
  queue.charge(a, 30);  // its outputs
  EXPECT_EQ(walk(queue, costs), (Seqs{11, 12, 1, 2, 3, 4}));
  EXPECT_TRUE(queue.check_integrity().ok());
}

TEST(FairOrder, WhoWasPreemptedGoesOnBeforeAnyClientsNewcomer) {
  WaitingQueue queue({});
  const ClientId a = queue.open_client("a"), b = queue.open_client("b");
  WaitingItem back = of_client(a, 1, 0, 10);
  back.returned = true;
  queue.insert(back, 0);
  queue.insert(of_client(a, 2, 1, 10), 0);
  queue.charge(a, 1000);
  queue.insert(of_client(b, 3, 2, 10), 0);
  queue.insert(of_client(b, 4, 3, 10), 0);
  queue.charge(a, 1000);
  EXPECT_EQ(walk(queue, {{2, 10.0}, {3, 10.0}, {4, 10.0}}), (Seqs{1, 3, 4, 2}));
}

TEST(FairOrder, ALateRequestYieldsToEveryClientsTimelyOnes) {
  WaitingQueue queue({});
  const ClientId a = queue.open_client("a"), b = queue.open_client("b");
  WaitingItem late = of_client(a, 1, 0, 10);
  late.late_at_us = 50;
  queue.insert(late, 0);
  queue.insert(of_client(b, 2, 1, 10), 0);
  queue.charge(b, 1000);
  EXPECT_EQ(walk(queue, {}), (Seqs{1, 2}));
  queue.prepare(50);
  EXPECT_EQ(walk(queue, {}), (Seqs{2, 1}));
}

TEST(FairOrder, ABatchJobIsGroupedWithinItsClientAndBehindAll) {
  WaitingQueue queue({.group_prefixes = true, .block_tokens = 64, .group_window_us = 100});
  const ClientId a = queue.open_client("a"), b = queue.open_client("b");
  std::deque<std::vector<Sha256Digest>> chains;
  for (uint64_t seq = 1; seq <= 6; ++seq) {
    auto& chain = chains.emplace_back();
    for (int i = 0; i < 6; ++i) {
      const std::string text = std::string(seq % 2 == 0 ? "x" : "y") + std::to_string(i);
      chain.push_back(sha256(std::as_bytes(std::span(text))));
    }
    WaitingItem one = of_client(a, seq, seq, 6 * 64);
    one.service_class = ServiceClass::kBatch;
    one.expected_outputs = 10;
    one.chain = chain;
    queue.insert(one, 0);
  }
  queue.insert(of_client(b, 9, 9000, 64), 0);
  queue.charge(b, 1e6);
  queue.prepare(0);
  const Seqs seqs = walk(queue, {});
  EXPECT_EQ(seqs.front(), 9u);
  EXPECT_TRUE(std::is_partitioned(seqs.begin() + 1, seqs.end(),
                                  [&](uint64_t seq) { return seq % 2 == seqs[1] % 2; }));
}

// Every walk against the rule itself, applied to a list; and the walk from the end against it, as
// far as it promises: it visits everybody once, in the same order while everybody pays the prompt.
TEST(FairOrder, TwentyThousandRandomChangesKeepTheOrder) {
  TestRandom draw(7);
  WaitingQueue queue({});
  std::vector<ClientId> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(queue.open_client("c" + std::to_string(i)));
  }
  std::vector<WaitingItem> naive;
  uint64_t now = 0, next_seq = 1;
  for (int i = 0; i < 20'000; ++i) {
    now += draw.below(5);
    const uint64_t what = draw.below(4);
    if (what == 0) {
      // Costs of their own, so that no two tags are equal.
      queue.charge(clients[draw.below(5)], static_cast<double>(draw.below(1000)) + 1.0 / (i + 2));
    } else if (naive.size() < 40 && what < 3) {
      WaitingItem one =
          of_client(clients[draw.below(5)], next_seq++, draw.below(1000), 1 + draw.below(300));
      one.late_at_us = draw.below(3) == 0 ? now + draw.below(200) : UINT64_MAX;
      naive.push_back(one);
      queue.insert(one, now);
    } else if (!naive.empty()) {
      const size_t at = draw.below(naive.size());
      queue.erase(naive[at].seq);
      naive.erase(naive.begin() + static_cast<ptrdiff_t>(at));
    }
    queue.prepare(now);
    if (i % 50 != 0) {
      continue;
    }
    ASSERT_EQ(queue.check_integrity().to_string(), Status().to_string());
    std::map<ClientId, double> served;
    for (const ClientId client : clients) {
      served[client] = queue.served(client);
    }
    std::vector<WaitingItem> rest = naive;
    std::map<uint64_t, double> costs;
    Seqs expected;
    while (!rest.empty()) {
      // In its client's line the first one on time is before the first one that is late.
      const auto first =
          std::min_element(rest.begin(), rest.end(), [&](const auto& a, const auto& b) {
            const auto key = [&](const WaitingItem& w) {
              return std::tuple(now >= w.late_at_us, served[w.client], w.client, w.order_key,
                                w.request);
            };
            return key(a) < key(b);
          });
      expected.push_back(first->seq.v);
      costs[first->seq.v] = first->num_prompt_tokens;
      served[first->client] += first->num_prompt_tokens;
      rest.erase(first);
    }
    ASSERT_EQ(walk(queue, costs), expected) << "change " << i;
    Seqs back;
    for (SeqId seq = queue.last(); seq != SeqId{}; seq = queue.before(seq)) {
      back.push_back(seq.v);
    }
    std::sort(expected.begin(), expected.end());
    std::sort(back.begin(), back.end());
    ASSERT_EQ(back, expected);
  }
}

TEST(FairOrder, TheWalkFromTheEndMirrorsTheOneInWhichAllPay) {
  WaitingQueue queue({});
  TestRandom draw(11);
  std::map<uint64_t, double> costs;
  for (uint64_t i = 0; i < 300; ++i) {
    const ClientId client = queue.open_client("c" + std::to_string(draw.below(4)));
    const auto tokens = 1 + draw.below(1'000'000);
    queue.insert(of_client(client, 1 + i, draw.below(1000), tokens), 0);
    costs[1 + i] = tokens;
  }
  Seqs back;
  for (SeqId seq = queue.last(); seq != SeqId{}; seq = queue.before(seq)) {
    back.push_back(seq.v);
  }
  std::reverse(back.begin(), back.end());
  EXPECT_EQ(walk(queue, costs).size(), 300u);
  // But for each client's first, which all stand where their clients do: ties.
  EXPECT_EQ(walk(queue, costs), back);
}

// ---- the bound

// A server with room for `kRoom` tokens: admits in the order of the queue as long as a request's
// prompt and outputs fit, then gives every running one a token. Outputs cost one each.
struct World {
  static constexpr uint64_t kRoom = 4000;
  static constexpr uint32_t kLongestPrompt = 800;
  static constexpr uint32_t kMostOutputs = 400;
  struct Job {
    size_t client;
    uint32_t prompt, outputs;
  };
  explicit World(uint64_t seed, bool fair) : draw(seed), fair_(fair) {
    for (size_t i = 0; i < kClients; ++i) {
      ids.push_back(queue.open_client(fair ? "c" + std::to_string(i) : ""));
      prompt_of.push_back(i % 2 == 0 ? 20 : kLongestPrompt);
      outputs_of.push_back(i / 2 == 0 ? 10 : kMostOutputs);
    }
  }
  uint32_t about(uint32_t most) { return most / 2 + draw.below(most / 2 + 1); }
  // As many as can start in one step, so that nobody ever has nothing waiting. The first client's
  // come first.
  void keep_backlogged() {
    for (size_t i = 0; i < kClients; ++i) {
      for (; num_waiting[i] < kRoom / 15 + 1; ++num_waiting[i]) {
        const Job job = {i, about(prompt_of[i]), about(outputs_of[i])};
        queue.insert(of_client(ids[i], next_seq, next_seq, job.prompt), 0);
        jobs.emplace(next_seq++, job);
      }
    }
  }
  void charge(const Job& job, double cost) {
    served[job.client] += cost;
    queue.charge(ids[job.client], cost);
  }
  void step() {
    WaitingQueue::Walk walk = queue.walk();
    std::vector<uint64_t> admitted;
    for (SeqId seq = walk.next(); seq != SeqId{}; seq = walk.next()) {
      const Job& job = jobs.at(seq.v);
      if (used + job.prompt + job.outputs > kRoom) {
        break;
      }
      used += job.prompt + job.outputs;
      walk.charge(job.prompt);
      admitted.push_back(seq.v);
    }
    for (const uint64_t seq : admitted) {
      STET_CHECK(num_waiting[jobs.at(seq).client] > 1, "all are backlogged");
      queue.erase(SeqId{seq});
      --num_waiting[jobs.at(seq).client];
      charge(jobs.at(seq), jobs.at(seq).prompt);
      running.emplace(seq, jobs.at(seq).outputs);
    }
    keep_backlogged();
    for (auto it = running.begin(); it != running.end();) {
      const Job job = jobs.at(it->first);
      charge(job, 1.0);
      if (--it->second == 0) {
        used -= job.prompt + job.outputs;
        jobs.erase(it->first);
        it = running.erase(it);
      } else {
        ++it;
      }
    }
  }
  double largest_difference() const {
    const auto [least, most] = std::minmax_element(served.begin(), served.end());
    return *most - *least;
  }

  static constexpr size_t kClients = 4;
  TestRandom draw;
  const bool fair_;
  WaitingQueue queue{{}};
  std::vector<ClientId> ids;
  std::vector<uint32_t> prompt_of, outputs_of;
  std::vector<uint32_t> num_waiting = std::vector<uint32_t>(kClients, 0);
  std::vector<double> served = std::vector<double>(kClients, 0.0);
  std::map<uint64_t, Job> jobs;
  std::map<uint64_t, uint32_t> running;
  uint64_t used = 0, next_seq = 1;
};

double largest_difference(uint64_t seed, bool fair) {
  World world(seed, fair);
  world.keep_backlogged();
  double largest = 0.0;
  for (int step = 0; step < 5000; ++step) {
    world.step();
    largest = std::max(largest, world.largest_difference());
  }
  return largest;
}

TEST(Fairness, TwoBackloggedClientsDifferByTwicePromptOrPoolAtMost) {
  constexpr double kBound = 2.0 * std::max<double>(World::kLongestPrompt, World::kRoom);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_LE(largest_difference(seed, true), kBound) << "seed " << seed;
  }
}

// The negative control: the same worlds with one counter for all.
TEST(Fairness, WithoutCountersTheyDriftApart) {
  constexpr double kBound = 2.0 * std::max<double>(World::kLongestPrompt, World::kRoom);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_GT(largest_difference(seed, false), kBound) << "seed " << seed;
  }
}

}  // namespace
}  // namespace stet::sched
