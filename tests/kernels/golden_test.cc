// The bits of this contract version, recorded. Whoever changes a constant, an order or a rounding
// sees it here, on any table and under any emulator; a new value belongs to a new contract version
// (C0).
#include <gtest/gtest.h>

#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

using test::Buffer;
using test::Rng;

class Digest {
 public:
  void add(const void* p, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      state_ = (state_ ^ static_cast<const uint8_t*>(p)[i]) * 0x100000001B3u;  // FNV-1a
    }
  }
  template <class T>
  void add(const Buffer<T>& v) {
    add(v.data(), v.size() * sizeof(T));
  }
  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0xCBF29CE484222325u;
};

// Types [first, end).
void digest_linears(const KernelTable& table, WeightType first, int end, uint32_t k,
                    Digest* digest) {
  Rng rng(61);
  for (int type = static_cast<int>(first); type < end; ++type) {
    const test::Weights w = test::make_weights(rng, static_cast<WeightType>(type), 64, k, 2, true);
    const test::OutlierList outliers(rng, k, 2);
    test::Rows in(7, k);
    for (uint32_t r = 0; r < 7; ++r) {
      const Buffer<float> gate = test::floats(rng, k);
      Buffer<float> up = test::floats(rng, k);
      table.rms_norm(up.data(), gate.data(), k, 1e-5f, up.data());
      table.gate_quantise(r % 2 ? GateKind::kSilu : GateKind::kGeluTanh, gate.data(), up.data(),
                          outliers.view(), in.view(), r);
    }
    Buffer<float> out(7 * 64);
    const LinearArgs args{&w.matrix, in.view(), 7, 0, 2, out.data(), 64};
    table.linear[type](args);
    digest->add(in.q);
    digest->add(out);
  }
}

void digest_attention(const KernelTable& table, Digest* digest) {
  Rng rng(62);
  constexpr uint32_t kPositions = 600;
  const KvTileLayout layout{1, 1, 64, kTile};
  Buffer<std::byte> bytes(layout.block_bytes() * (kPositions / kTile + 1));
  AttentionArgs args;
  args.kv = {bytes.data(), nullptr, layout.block_bytes(), kPositions / kTile + 1, kTile};
  args.head_dim = 64;
  args.num_heads = 3;
  args.first_pos = kPositions - 5;
  args.num_queries = 5;
  Buffer<uint16_t> q(5 * 192);
  for (uint32_t pos = 0; pos < kPositions; ++pos) {
    const Buffer<float> k = test::floats(rng, 64);
    const Buffer<float> v = test::floats(rng, 64);
    Buffer<float> turn = test::floats(rng, 64);  // any numbers serve as cos and sin
    table.rope_store_kv(RopeStyle::kHalves, k.data(), v.data(), turn.data(), turn.data() + 32, 64,
                        64, args.kv.block(pos / kTile), pos % kTile);
    if (pos < 15) {
      table.rope_q(RopeStyle::kAdjacent, k.data(), turn.data(), turn.data() + 32, 64, 64, 0.3f,
                   q.data() + pos * 64);
    }
  }
  Buffer<float> out(5 * 192);
  args.q = q.data();
  args.ldq = args.ldo = 192;
  args.out = out.data();
  table.attention(args);
  digest->add(out);
}

void digest_logits(const KernelTable& table, Digest* digest) {
  Rng rng(63);
  Buffer<float> x = test::floats(rng, 10000);
  for (float& v : x) {
    v *= 3.0f;
  }
  const LogSumExp lse = table.log_sum_exp(x.data(), 10000);
  digest->add(&lse.max, 4);
  digest->add(&lse.log2_sum, 4);
  const float lp = logprob(lse, x[5]);
  digest->add(&lp, 4);
  Buffer<std::byte> scratch(sample_scratch_bytes(10000));
  for (uint32_t i = 0; i < 50; ++i) {
    SampleArgs args{x.data(), 10000, 0.9f, i % 3 ? 0u : 200u, i % 2 ? 0.9f : 1.0f, 0.0f, 77, i};
    args.scratch = scratch.data();
    const uint32_t id = table.sample(args);
    digest->add(&id, 4);
  }
}

TEST(Golden, BitsAreThoseOfTheContractVersion) {
  set_float_environment();
  for (const KernelTable* table : test::runnable_tables()) {
    Digest linears, more_linears, last_linears, attention, logits;
    digest_linears(*table, WeightType::kF32, static_cast<int>(WeightType::kQ5_0), 192, &linears);
    digest_linears(*table, WeightType::kQ5_0, static_cast<int>(WeightType::kQ2_K), 512,
                   &more_linears);
    digest_linears(*table, WeightType::kQ2_K, kNumWeightTypes, 512, &last_linears);
    digest_attention(*table, &attention);
    digest_logits(*table, &logits);
    EXPECT_EQ(linears.value(), 0x3CD7A300255D75C9u) << table->name;
    EXPECT_EQ(more_linears.value(), 0xFA654EF9E57F7141u) << table->name;
    EXPECT_EQ(last_linears.value(), 0xEA828EE0994F8B4Cu) << table->name;
    EXPECT_EQ(attention.value(), 0x57A374EF80321BC1u) << table->name;
    EXPECT_EQ(logits.value(), 0x95ADEECB4BD34602u) << table->name;
  }
}

}  // namespace
}  // namespace stet::kernels
