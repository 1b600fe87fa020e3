// Group attention against attention() for every member alone, on the same cache in one process:
// one decode step of SmolLM2-135M (30 layers, 3 KV heads, 9 heads of 64) on one core.
//
//   group_attention_bench [repetitions]        results: benchmarks/results/kernels
//
// Repetitions of the kernels alternate; medians of CPU time. `alone` goes through the cache in two
// orders, member by member (as the executor deals items) and head by head (the shared tiles of a
// head stay in the caches as far as they fit); the speed-up is over the faster of them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "benchmarks/kernels/bench_data.h"
#include "benchmarks/kernels/limits.h"

namespace stet::bench {
namespace {

using kernels::AttentionArgs;
using kernels::GroupAttentionArgs;
using kernels::GroupMember;
using kernels::KernelTable;
using kernels::kTile;

constexpr uint32_t kLayers = 30;
constexpr uint32_t kKvHeads = 3;
constexpr uint32_t kHeads = 3;  // per KV head
constexpr uint32_t kHeadDim = 64;
constexpr uint32_t kWidth = kHeads * kHeadDim;
constexpr uint32_t kTail = 32;               // own tokens of each member
constexpr double kTileMacs = 2.0 * 64 * 64;  // scores and weights of one row and tile

// The cache, queries and outputs of one step.
class Step {
 public:
  Step(uint32_t members, uint32_t shared_tokens)
      : shared_(shared_tokens),
        layout_{kLayers, kKvHeads, kHeadDim, kTile},
        memory_((shared_tokens / kTile + members) * layout_.block_bytes()),
        q_(size_t{members} * kKvHeads * kWidth),
        out_(size_t{members} * kKvHeads * kWidth) {
    Rng rng;
    uint16_t* p = reinterpret_cast<uint16_t*>(memory_.data());
    const uint32_t blocks = shared_tokens / kTile + members;
    for (size_t i = 0; i < blocks * layout_.block_bytes() / 2; ++i) {
      p[i] = kernels::float_to_bf16(rng.uniform());
    }
    for (size_t i = 0; i < size_t{members} * kKvHeads * kWidth; ++i) {
      q_.data()[i] = kernels::float_to_bf16(rng.uniform() * 0.3f);
    }
    for (uint32_t m = 0; m < members; ++m) {
      tables_.emplace_back();
      for (uint32_t b = 0; b < shared_tokens / kTile; ++b) {
        tables_.back().push_back(b);
      }
      tables_.back().push_back(shared_tokens / kTile + m);
    }
  }

  void grouped(const KernelTable& table) {
    members_.resize(tables_.size());
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      for (uint32_t head = 0; head < kKvHeads; ++head) {
        for (uint32_t m = 0; m < members_.size(); ++m) {
          members_[m] = {view(m), shared_ + kTail - 1, q(m, head), out(m, head), nullptr};
        }
        const GroupAttentionArgs args = {.members = members_.data(),
                                         .num_members = static_cast<uint32_t>(members_.size()),
                                         .shared_tokens = shared_,
                                         .head_offset = layout_.offset(layer, head),
                                         .head_dim = kHeadDim,
                                         .num_heads = kHeads,
                                         .window = 0,
                                         .next_tile = first_tile(0, layer * kKvHeads + head + 1)};
        table.attention_group(args);
      }
    }
  }

  void alone(const KernelTable& table, bool head_by_head) {
    const auto num_members = static_cast<uint32_t>(tables_.size());
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      for (uint32_t i = 0; i < num_members * kKvHeads; ++i) {
        const auto head_of = [&](uint32_t j) {
          return head_by_head ? j / num_members : j % kKvHeads;
        };
        const uint32_t head = head_of(i);
        const uint32_t m = head_by_head ? i % num_members : i / kKvHeads;
        AttentionArgs args;
        args.kv = view(m);
        args.head_offset = layout_.offset(layer, head);
        args.head_dim = kHeadDim;
        args.num_heads = kHeads;
        args.first_pos = shared_ + kTail - 1;
        args.num_queries = 1;
        args.q = q(m, head);
        args.out = out(m, head);
        args.ldq = args.ldo = kWidth;
        args.next_tile = first_tile(0, layer * kKvHeads + head_of(i + 1) % kKvHeads);
        table.attention(args);
      }
    }
  }

  std::vector<float> result() {
    return {out_.data(), out_.data() + tables_.size() * kKvHeads * kWidth};
  }
  double row_tiles() const {
    return double{kLayers} * kKvHeads * kHeads * static_cast<double>(tables_.size()) *
           (shared_ / kTile + 1);
  }

 private:
  kernels::KvView view(uint32_t m) {
    return {memory_.data(), tables_[m].data(), layout_.block_bytes(),
            static_cast<uint32_t>(tables_[m].size()), kTile};
  }
  const std::byte* first_tile(uint32_t m, uint32_t layer_head) {
    return layer_head == kLayers * kKvHeads
               ? nullptr
               : view(m).block(0) + layout_.offset(layer_head / kKvHeads, layer_head % kKvHeads);
  }
  const uint16_t* q(uint32_t m, uint32_t head) {
    return q_.data() + (size_t{m} * kKvHeads + head) * kWidth;
  }
  float* out(uint32_t m, uint32_t head) {
    return out_.data() + (size_t{m} * kKvHeads + head) * kWidth;
  }

  const uint32_t shared_;
  const kernels::KvTileLayout layout_;
  Pages<std::byte> memory_;
  Pages<uint16_t> q_;
  Pages<float> out_;
  std::vector<std::vector<uint32_t>> tables_;
  std::vector<GroupMember> members_;
};

template <class F>
double seconds_of(F&& f) {
  const double start = now();
  f();
  return now() - start;
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

bool compare(const KernelTable& table, uint32_t members, uint32_t shared, int repetitions) {
  Step step(members, shared);
  step.alone(table, false);
  const std::vector<float> expected = step.result();
  step.grouped(table);
  const std::vector<float> found = step.result();
  const bool equal =
      std::memcmp(expected.data(), found.data(), expected.size() * sizeof(float)) == 0;
  std::vector<double> by_member, by_head, grouped;
  for (int i = 0; i < repetitions; ++i) {
    by_member.push_back(seconds_of([&] { step.alone(table, false); }));
    by_head.push_back(seconds_of([&] { step.alone(table, true); }));
    grouped.push_back(seconds_of([&] { step.grouped(table); }));
  }
  const double best_alone = std::min(median(by_member), median(by_head));
  const double group = median(grouped);
  const double peak = float_peak(table);
  std::printf("%-15s %7u %7u %10.2f %10.2f %10.2f %8.2f %9.1f %9.1f", table.name, members, shared,
              median(by_member) * 1e3, median(by_head) * 1e3, group * 1e3, best_alone / group,
              best_alone / step.row_tiles() * 1e9, group / step.row_tiles() * 1e9);
  std::printf(" %6.1f%%", 100 * step.row_tiles() * kTileMacs / group / peak);
  std::printf("  %s\n", equal ? "equal" : "DIFFERENT");
  std::fflush(stdout);
  return equal;
}

}  // namespace
}  // namespace stet::bench

int main(int argc, char** argv) {
  using namespace stet;
  const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 9;
  kernels::set_float_environment();
  std::printf("medians of %d; of peak: of the multiply-adds of this core\n", repetitions);
  std::printf("%-15s %7s %7s %10s %10s %10s %8s %9s %9s %7s  %s\n", "table", "members", "shared",
              "by member", "by head", "group ms", "speed-up", "alone", "group ns", "of peak",
              "bits");
  bool equal = true;
  const kernels::TableList list = kernels::all_tables();
  for (size_t i = 0; i < list.num; ++i) {
    const kernels::KernelTable& table = *list.tables[i];
    // The other tables run the definition member by member: nothing to compare.
    if (!kernels::cpu_supports(table) || std::strncmp(table.name, "avx512", 6) != 0) {
      continue;
    }
    for (const uint32_t shared : {256u, 1024u, 7936u}) {
      for (const uint32_t members : {2u, 4u, 16u, 64u}) {
        equal &= bench::compare(table, members, shared,
                                members == 64 ? (repetitions + 1) / 2 : repetitions);
      }
    }
  }
  return equal ? 0 : 1;
}
