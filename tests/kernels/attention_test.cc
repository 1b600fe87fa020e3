#include <gtest/gtest.h>

#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

using test::Buffer;
using test::Rng;

struct Shape {
  uint32_t head_dim = 64;
  uint32_t num_heads = 3;
  uint32_t window = 0;
  uint32_t block_tokens = 64;
};

// Keys and values of one kv head for positions 0 .. n-1, and a paged cache of which only a range is
// written: every other slot, and the memory between the heads, is NaN.
class Cache {
 public:
  Cache(Rng& rng, Shape shape, uint32_t n)
      : shape_(shape), layout_{1, 2, shape.head_dim, shape.block_tokens}, n_(n) {
    k_ = test::floats(rng, size_t{n} * shape.head_dim);
    v_ = test::floats(rng, size_t{n} * shape.head_dim);
    const uint32_t blocks = (n + shape.block_tokens - 1) / shape.block_tokens;
    stride_ = layout_.block_bytes() + 4096;
    bytes_.resize((blocks + 3) * stride_);
    for (uint32_t i = 0; i < blocks; ++i) {
      table_.push_back((i * 7 + 3) % (blocks + 3));
    }
    // 7 and blocks + 3 may share a factor: then the identity.
    for (uint32_t i = 0; i < blocks; ++i) {
      for (uint32_t j = 0; j < i; ++j) {
        if (table_[i] == table_[j]) {
          for (uint32_t b = 0; b < blocks; ++b) {
            table_[b] = b;
          }
        }
      }
    }
  }

  // Writes positions [begin, end) and poisons all others.
  AttentionArgs view(uint32_t begin, uint32_t end) {
    std::memset(bytes_.data(), 0xFF, bytes_.size());
    AttentionArgs args;
    args.kv = {bytes_.data(), table_.data(), stride_, static_cast<uint32_t>(table_.size()),
               shape_.block_tokens};
    args.head_offset = layout_.offset(0, 1);
    args.head_dim = shape_.head_dim;
    args.num_heads = shape_.num_heads;
    args.window = shape_.window;
    for (uint32_t pos = begin; pos < end; ++pos) {
      std::byte* tile = args.kv.block(pos / shape_.block_tokens) + args.head_offset +
                        pos % shape_.block_tokens / kTile * 2 * layout_.half_tile_bytes();
      test::scalar_table().rope_store_kv(RopeStyle::kHalves, &k_[size_t{pos} * shape_.head_dim],
                                         &v_[size_t{pos} * shape_.head_dim], nullptr, nullptr,
                                         shape_.head_dim, 0, tile, pos % kTile);
    }
    return args;
  }
  float k(uint32_t pos, uint32_t d) const { return round(k_[size_t{pos} * shape_.head_dim + d]); }
  float v(uint32_t pos, uint32_t d) const { return round(v_[size_t{pos} * shape_.head_dim + d]); }
  uint32_t size() const { return n_; }

 private:
  static float round(float x) { return bf16_to_float(float_to_bf16(x)); }
  Shape shape_;
  KvTileLayout layout_;
  uint32_t n_;
  Buffer<float> k_, v_;
  Buffer<std::byte> bytes_;
  std::vector<uint32_t> table_;
  uint64_t stride_ = 0;
};

struct Queries {
  Queries(Rng& rng, Shape shape, uint32_t n) : ldq(shape.num_heads * shape.head_dim + 32) {
    q.resize(n * ldq);
    for (uint16_t& x : q) {
      x = float_to_bf16(rng.normal() * 0.3f);
    }
  }
  size_t ldq;
  Buffer<uint16_t> q;
};

class Attention : public ::testing::Test {
 protected:
  void SetUp() override { set_float_environment(); }
  Rng rng_{21};

  // Positions [first, first + n) in one call; every slot that none of them sees is NaN.
  Buffer<float> run(const KernelTable& table, Cache& cache, Shape shape, const Queries& queries,
                    uint32_t first, uint32_t n, uint32_t query_offset = 0) {
    const uint32_t seen = shape.window && first >= shape.window ? first - shape.window + 1 : 0;
    AttentionArgs args = cache.view(seen, first + n);
    args.first_pos = first;
    args.num_queries = n;
    args.q = queries.q.data() + query_offset * queries.ldq;
    args.ldq = queries.ldq;
    const size_t width = size_t{shape.num_heads} * shape.head_dim;
    Buffer<float> out(n * width);
    args.out = out.data();
    args.ldo = width;
    table.attention(args);
    return out;
  }
};

TEST_F(Attention, DecodeEqualsTheDefinitionAtEveryBorder) {
  const Shape shapes[] = {{64, 3, 0, 64},   {64, 1, 0, 256}, {128, 4, 0, 64}, {80, 7, 0, 128},
                          {256, 16, 0, 64}, {32, 9, 0, 64},  {64, 3, 70, 64}, {96, 2, 600, 256},
                          {16, 5, 1, 64},   {64, 17, 0, 64}, {10, 3, 100, 64}};
  for (const Shape& shape : shapes) {
    Cache cache(rng_, shape, 1101);
    const Queries queries(rng_, shape, 1);
    for (const uint32_t pos :
         {0u, 1u, 31u, 62u, 63u, 64u, 65u, 127u, 200u, 511u, 512u, 513u, 1023u, 1100u}) {
      const Buffer<float> expected = run(test::scalar_table(), cache, shape, queries, pos, 1);
      for (const KernelTable* table : test::runnable_tables()) {
        ASSERT_TRUE(test::same_bits(run(*table, cache, shape, queries, pos, 1), expected))
            << table->name << " dim " << shape.head_dim << " heads " << shape.num_heads
            << " window " << shape.window << " pos " << pos;
      }
    }
  }
}

TEST_F(Attention, ChunkingsEqualOneQueryAtATime) {
  const Shape shapes[] = {
      {64, 3, 0, 64}, {64, 3, 100, 64}, {128, 8, 0, 128}, {256, 16, 513, 64}, {48, 5, 64, 64}};
  for (const Shape& shape : shapes) {
    Cache cache(rng_, shape, 1100);
    const uint32_t n = 75;
    const Queries queries(rng_, shape, n);
    const size_t width = size_t{shape.num_heads} * shape.head_dim;
    for (const uint32_t first : {0u, 33u, 480u, 1000u}) {
      std::vector<Buffer<float>> alone(n);
      for (const uint32_t i : {0u, 1u, 6u, 7u, 30u, 31u, 63u, 64u, n - 1}) {
        alone[i] = run(best_table(), cache, shape, queries, first + i, 1, i);
      }
      for (const KernelTable* table : test::runnable_tables()) {
        if (shape.head_dim > 64 &&
            (!std::strcmp(table->name, "scalar") || !std::strcmp(table->name, "avx2"))) {
          continue;  // the definition goes query by query: shown by the decode test
        }
        for (const uint32_t chunk : {7u, 64u, n}) {
          for (uint32_t i = 0; i < n; i += chunk) {
            const uint32_t count = std::min(chunk, n - i);
            const Buffer<float> part = run(*table, cache, shape, queries, first + i, count, i);
            for (uint32_t j = i; j < i + count; ++j) {
              ASSERT_TRUE(alone[j].empty() ||
                          std::memcmp(alone[j].data(), part.data() + (j - i) * width,
                                      width * sizeof(float)) == 0)
                  << table->name << " dim " << shape.head_dim << " window " << shape.window
                  << " first " << first << " chunk " << chunk << " query " << j;
            }
          }
        }
      }
    }
  }
}

TEST_F(Attention, SegmentsMergedEqualTheWhole) {
  for (const Shape& shape : {Shape{64, 3, 0, 64}, Shape{80, 4, 600, 128}, Shape{6, 2, 0, 64}}) {
    Cache cache(rng_, shape, 1700);
    const uint32_t n = 9;
    const Queries queries(rng_, shape, n);
    for (const uint32_t first : {0u, 507u, 1020u, 1600u}) {
      for (const KernelTable* table : test::runnable_tables()) {
        const Buffer<float> whole = run(*table, cache, shape, queries, first, n);
        const size_t width = size_t{shape.num_heads} * shape.head_dim;
        AttentionArgs args = cache.view(0, first + n);
        args.first_pos = first;
        args.num_queries = n;
        args.q = queries.q.data();
        args.ldq = queries.ldq;
        Buffer<float> out(n * width);
        args.out = out.data();
        args.ldo = width;
        const uint32_t num_segments = (first + n - 1) / kSegment + 1;
        const size_t per_segment =
            size_t{n} * shape.num_heads * attention_state_stride(shape.head_dim);
        Buffer<float> states(num_segments * per_segment, -7.0f);
        for (uint32_t s = num_segments; s-- > 0;) {  // in any order, by any thread
          table->attention_segment(args, s, states.data() + s * per_segment);
        }
        table->attention_merge(args, states.data(), num_segments);
        ASSERT_TRUE(test::same_bits(out, whole))
            << table->name << " dim " << shape.head_dim << " first " << first;
        // States are as public as results: another table may merge them.
        Buffer<float> crossed(n * width);
        args.out = crossed.data();
        test::scalar_table().attention_merge(args, states.data(), num_segments);
        ASSERT_TRUE(test::same_bits(crossed, whole)) << table->name << " merged by scalar";
      }
    }
  }
}

// exact = sum softmax(q.k) v in double over the same bf16 inputs. Error of the contract's
// arithmetic:
//   scores |s| <= S with D fma: S*D*2^-24 absolute in log2 units, so p is off by a factor 1 +
//   ln2*S*D*2^-24 at most; p rounded to bf16: 2^-9 relative, in numerator and denominator alike;
//   everything else is 2^-24 terms.
TEST_F(Attention, OracleInDoubleAgreesWithinTheBound) {
  for (const Shape& shape : {Shape{64, 3, 0, 64}, Shape{128, 2, 90, 64}}) {
    const uint32_t pos = 700;
    Cache cache(rng_, shape, pos + 1);
    const Queries queries(rng_, shape, 1);
    const uint32_t first = shape.window ? pos - shape.window + 1 : 0;
    for (const KernelTable* table : test::runnable_tables()) {
      const Buffer<float> out = run(*table, cache, shape, queries, pos, 1);
      for (uint32_t h = 0; h < shape.num_heads; ++h) {
        std::vector<double> p(pos + 1);
        double sum = 0;
        double s_max = 0;
        for (uint32_t t = first; t <= pos; ++t) {
          double s = 0;
          double magnitude = 0;
          for (uint32_t d = 0; d < shape.head_dim; ++d) {
            const double term =
                double{bf16_to_float(queries.q[h * shape.head_dim + d])} * cache.k(t, d);
            s += term;
            magnitude += std::fabs(term);
          }
          s_max = std::max(s_max, magnitude);
          p[t] = std::exp2(s);
          sum += p[t];
        }
        const double relative = 2 * (0x1p-9 + 0.7 * s_max * shape.head_dim * 0x1p-24) + 1e-5;
        for (uint32_t d = 0; d < shape.head_dim; ++d) {
          double exact = 0;
          double magnitude = 0;
          for (uint32_t t = first; t <= pos; ++t) {
            exact += p[t] / sum * cache.v(t, d);
            magnitude += p[t] / sum * std::fabs(cache.v(t, d));
          }
          ASSERT_NEAR(out[h * shape.head_dim + d], exact, magnitude * relative)
              << table->name << " dim " << d;
        }
      }
    }
  }
}

TEST_F(Attention, ZeroQueriesAverageAndExtremesStayFinite) {
  const Shape shape;
  const uint32_t n = 130;
  Cache cache(rng_, shape, n);
  Queries queries(rng_, shape, 1);
  const float extreme = bf16_to_float(0x5B7F);
  for (const float value : {0.0f, extreme, -extreme}) {
    std::fill(queries.q.begin(), queries.q.end(), float_to_bf16(value));
    const Buffer<float> expected = run(test::scalar_table(), cache, shape, queries, n - 1, 1);
    for (const float x : expected) {
      ASSERT_TRUE(std::isfinite(x));
    }
    for (const KernelTable* table : test::runnable_tables()) {
      ASSERT_TRUE(test::same_bits(run(*table, cache, shape, queries, n - 1, 1), expected))
          << table->name << " " << value;
    }
  }
}

// The poison must be able to show: an unwritten slot inside the visible range reaches the result.
TEST_F(Attention, PoisonInsideTheVisibleRangeIsSeen) {
  const Shape shape;
  Cache cache(rng_, shape, 100);
  const Queries queries(rng_, shape, 1);
  for (const KernelTable* table : test::runnable_tables()) {
    AttentionArgs args = cache.view(1, 100);
    args.first_pos = 99;
    args.num_queries = 1;
    args.q = queries.q.data();
    args.ldq = queries.ldq;
    Buffer<float> out(3 * 64);
    args.out = out.data();
    args.ldo = 3 * 64;
    table->attention(args);
    EXPECT_TRUE(std::isnan(out[0])) << table->name;
  }
}

}  // namespace
}  // namespace stet::kernels
