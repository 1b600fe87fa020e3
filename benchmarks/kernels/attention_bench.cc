// Attention of 9 query and 3 KV heads of 64. peak_pct: share of the multiply-adds that this
// core reaches with the table's instruction (tiles counted whole); read_pct: KV bytes per second
// against merely reading them.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "benchmarks/kernels/bench_data.h"
#include "benchmarks/kernels/limits.h"

namespace stet::bench {
namespace {

using kernels::AttentionArgs;
using kernels::KernelTable;

constexpr uint32_t kLayers = 30;
constexpr uint32_t kKvHeads = 3;
constexpr uint32_t kHeads = 3;               // per KV head
constexpr double kTileMacs = 2.0 * 64 * 64;  // scores and weights of one row and tile of 64 dims

struct Pool {
  Pool(uint32_t head_dim, uint32_t sequences, uint32_t tiles)
      : layout{kLayers, kKvHeads, head_dim, kernels::kTile},
        bytes(size_t{sequences} * tiles * layout.block_bytes()),
        memory(bytes) {
    Rng rng;
    uint16_t* p = reinterpret_cast<uint16_t*>(memory.data());
    for (size_t i = 0; i < bytes / 2; ++i) {
      p[i] = kernels::float_to_bf16(rng.uniform());
    }
  }
  kernels::KvTileLayout layout;
  size_t bytes;
  Pages<std::byte> memory;
};

struct Query {
  Query(uint32_t rows, uint32_t head_dim)
      : width(kHeads * head_dim), q(size_t{rows} * width), out(size_t{rows} * width) {
    Rng rng;
    for (size_t i = 0; i < size_t{rows} * width; ++i) {
      q.data()[i] = kernels::float_to_bf16(rng.uniform() * 0.3f);
    }
  }
  size_t width;
  Pages<uint16_t> q;
  Pages<float> out;
};

AttentionArgs make_args(Pool& pool, Query& query, uint32_t first_pos, uint32_t num_queries) {
  AttentionArgs args;
  args.head_dim = pool.layout.head_dim;
  args.num_heads = kHeads;
  args.first_pos = first_pos;
  args.num_queries = num_queries;
  args.q = query.q.data();
  args.ldq = query.width;
  args.out = query.out.data();
  args.ldo = query.width;
  return args;
}

// One step of `sequences` sequences at `context`, all layers and KV heads.
void run_decode(benchmark::State& state, const KernelTable& table, uint32_t context,
                uint32_t sequences) {
  kernels::set_float_environment();
  const uint32_t tiles = (context + 63) / 64;
  Pool pool(64, sequences, tiles);
  Query query(1, 64);
  AttentionArgs args = make_args(pool, query, context - 1, 1);
  const uint64_t block = pool.layout.block_bytes();
  const double peak = float_peak(table);
  const double read = read_rate(pool.memory.data(), pool.bytes);
  const double start = now();
  for (auto _ : state) {
    for (uint32_t item = 0; item < kLayers * sequences * kKvHeads; ++item) {
      const auto place = [&](uint32_t i) {
        const uint32_t sequence = i / kKvHeads % sequences;
        args.kv = {pool.memory.data() + size_t{sequence} * tiles * block, nullptr, block, tiles,
                   kernels::kTile};
        args.head_offset = pool.layout.offset(i / kKvHeads / sequences % kLayers, i % kKvHeads);
        return args.kv.base + args.head_offset;
      };
      args.next_tile = place(item + 1);
      place(item);
      table.attention(args);
    }
  }
  const double seconds = (now() - start) / static_cast<double>(state.iterations());
  const double num_tiles = double{1} * kLayers * kKvHeads * sequences * tiles;
  state.counters["ns_per_tile"] = seconds / num_tiles * 1e9;
  state.counters["peak_pct"] = 100 * num_tiles * kTileMacs * kHeads / seconds / peak;
  state.counters["read_pct"] = 100 * static_cast<double>(pool.bytes) / seconds / read;
}

// 64 queries at `context`, one layer, all KV heads.
void run_prefill(benchmark::State& state, const KernelTable& table, uint32_t context,
                 uint32_t head_dim) {
  kernels::set_float_environment();
  const uint32_t tiles = context / 64 + 1;
  Pool pool(head_dim, 1, tiles);
  Query query(64, head_dim);
  AttentionArgs args = make_args(pool, query, context, 64);
  args.kv = {pool.memory.data(), nullptr, pool.layout.block_bytes(), tiles, kernels::kTile};
  const double peak = float_peak(table);
  const double start = now();
  for (auto _ : state) {
    for (uint32_t head = 0; head < kKvHeads; ++head) {
      args.head_offset = pool.layout.offset(0, head);
      table.attention(args);
    }
  }
  const double seconds = (now() - start) / static_cast<double>(state.iterations());
  const double row_tiles = double{64} * kHeads * kKvHeads * tiles;
  state.counters["us_per_token_model"] = seconds * kLayers / 64 * 1e6;
  state.counters["peak_pct"] = 100 * row_tiles * kTileMacs * (head_dim / 64.0) / seconds / peak;
}

}  // namespace

void register_attention(const KernelTable& table) {
  struct Decode {
    uint32_t context, sequences;
  };
  for (const Decode d :
       {Decode{64, 1}, Decode{128, 1}, Decode{1024, 1}, Decode{256, 32}, Decode{1024, 8}}) {
    const std::string name = "attention_decode/context=" + std::to_string(d.context) +
                             ",sequences=" + std::to_string(d.sequences) + "/" + table.name;
    benchmark::RegisterBenchmark(name.c_str(), [&table, d](benchmark::State& state) {
      run_decode(state, table, d.context, d.sequences);
    });
  }
  for (const uint32_t head_dim : {64u, 128u, 256u}) {
    for (const uint32_t context : {0u, 192u, 960u}) {
      const std::string name = "attention_prefill/queries=64,context=" + std::to_string(context) +
                               ",head_dim=" + std::to_string(head_dim) + "/" + table.name;
      benchmark::RegisterBenchmark(name.c_str(),
                                   [&table, context, head_dim](benchmark::State& state) {
                                     run_prefill(state, table, context, head_dim);
                                   });
    }
  }
}

}  // namespace stet::bench
