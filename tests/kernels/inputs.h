// Inputs for kernel tests: aligned buffers, seeded numbers in several distributions, weight
// matrices as file bytes and as panels, quantised rows.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "kernels/gemm/layout.h"
#include "kernels/numerics/bits.h"
#include "stet/kernels/kernel_table.h"
#include "stet/kernels/pack.h"

namespace stet::kernels::test {

template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  explicit AlignedAllocator(const AlignedAllocator<U>&) {}
  T* allocate(size_t n) {
    return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{64}));
  }
  void deallocate(T* p, size_t) { ::operator delete (p, std::align_val_t{64}); }
  template <class U>
  bool operator==(const AlignedAllocator<U>&) const {
    return true;
  }
};
template <class T>
using Buffer = std::vector<T, AlignedAllocator<T>>;

// Tables this host can run, "scalar" (the definition) last.
inline std::vector<const KernelTable*> runnable_tables() {
  std::vector<const KernelTable*> tables;
  for (size_t i = 0; i < all_tables().num; ++i) {
    if (cpu_supports(*all_tables().tables[i])) {
      tables.push_back(all_tables().tables[i]);
    }
  }
  return tables;
}
inline const KernelTable& scalar_table() {
  return *find_table("scalar");
}

class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 0x1234567) {}
  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15u;  // splitmix64
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }
  float normal() {  // sum of uniforms: bounded tails, no libm
    float sum = -6.0f;
    for (int i = 0; i < 12; ++i) {
      sum += uniform();
    }
    return sum;
  }

 private:
  uint64_t state_;
};

enum class Shape { kNormal, kHeavy, kZeros, kTiny, kLarge, kMixed };
inline constexpr Shape kShapes[] = {Shape::kNormal, Shape::kHeavy, Shape::kZeros,
                                    Shape::kTiny,   Shape::kLarge, Shape::kMixed};

inline float draw(Rng& rng, Shape shape) {
  const float x = rng.normal();
  switch (shape) {
    case Shape::kNormal: return x;
    case Shape::kHeavy: return x * x * x * (rng.below(50) == 0 ? 300.0f : 1.0f);
    case Shape::kZeros: return rng.below(2) ? 0.0f : -0.0f;
    case Shape::kTiny:
      return bits_float((rng.below(2) << 31) | rng.below(0x02000000));  // denormals and just above
    case Shape::kLarge: return x * 0x1p40f;
    case Shape::kMixed: return draw(rng, static_cast<Shape>(rng.below(5)));
  }
  return x;
}

inline Buffer<float> floats(Rng& rng, size_t n, Shape shape = Shape::kNormal) {
  Buffer<float> v(n);
  for (float& x : v) {
    x = draw(rng, shape);
  }
  return v;
}

template <class A, class B>
::testing::AssertionResult same_bits(const A& a, const B& b) {
  static_assert(sizeof(a[0]) == sizeof(b[0]));
  if (a.size() != b.size()) {
    return ::testing::AssertionFailure() << "sizes " << a.size() << " and " << b.size();
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof a[i]) != 0) {
      return ::testing::AssertionFailure() << "element " << i << ": " << a[i] << " and " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

inline const char* type_name(WeightType type) {
  static const char* const kNames[] = {"F32",  "F16",  "BF16", "Q4_0", "Q4_1", "Q8_0", "Q5_0",
                                       "Q5_1", "Q4_K", "Q5_K", "Q6_K", "Q2_K", "Q3_K", "IQ4_NL"};
  return kNames[static_cast<int>(type)];
}

inline constexpr WeightType kAllTypes[] = {
    WeightType::kF32,  WeightType::kF16,  WeightType::kBF16, WeightType::kQ4_0,  WeightType::kQ4_1,
    WeightType::kQ8_0, WeightType::kQ5_0, WeightType::kQ5_1, WeightType::kQ4_K,  WeightType::kQ5_K,
    WeightType::kQ6_K, WeightType::kQ2_K, WeightType::kQ3_K, WeightType::kIQ4_NL};
static_assert(std::size(kAllTypes) == kNumWeightTypes);

// A weight matrix as a GGUF file holds it, and packed.
struct Weights {
  std::vector<std::byte> file;
  Buffer<std::byte> panels;
  Buffer<float> outlier_w;
  Buffer<float> bias;
  PackedMatrix matrix;
};

inline void put_u16(std::byte* p, uint16_t v) {
  std::memcpy(p, &v, 2);
}

// Where d stands in a block of the file; a minimum follows it.
inline size_t scale_at(WeightType type) {
  return type == WeightType::kQ6_K   ? 208
         : type == WeightType::kQ2_K ? 80
         : type == WeightType::kQ3_K ? 108
                                     : 0;
}

// Random bytes with finite scales.
inline void fill_file_block(Rng& rng, WeightType type, std::byte* p) {
  const float d = rng.normal() * 0.02f;
  const float m = rng.normal() * 0.1f;
  const float w = rng.normal() * 0.05f;
  switch (type) {
    case WeightType::kF32: std::memcpy(p, &w, 4); return;
    case WeightType::kF16: put_u16(p, float_to_f16(w)); return;
    case WeightType::kBF16: put_u16(p, float_to_bf16(w)); return;
    default: break;
  }
  const size_t block = file_row_bytes(type, block_elements(type));
  const size_t scales = scale_at(type);
  const size_t scales_end = scales + (has_minimum(type) ? 4 : 2);
  put_u16(p + scales, float_to_f16(d));
  if (has_minimum(type)) {
    put_u16(p + scales + 2, float_to_f16(m));
  }
  for (size_t i = 0; i < block; ++i) {
    if (i < scales || i >= scales_end) {
      p[i] = static_cast<std::byte>(rng.next());
    }
  }
}

inline Weights make_weights(Rng& rng, WeightType type, uint32_t n, uint32_t k,
                            uint32_t outliers = 0, bool bias = false) {
  Weights w;
  w.file.resize(n * file_row_bytes(type, k));
  const size_t block = file_row_bytes(type, block_elements(type));
  for (size_t at = 0; at < w.file.size(); at += block) {
    fill_file_block(rng, type, w.file.data() + at);
  }
  w.panels.resize(packed_bytes(type, n, k));
  w.matrix = {type, n, k, w.panels.data(), outliers, nullptr, nullptr};
  if (!pack_panels(type, w.file.data(), n, k, 0, w.matrix.num_panels(), w.panels.data())) {
    std::abort();
  }
  if (outliers) {
    w.outlier_w = floats(rng, size_t{outliers} * round_up(n, kPanel));
    w.matrix.outlier_w = w.outlier_w.data();
  }
  if (bias) {
    w.bias = floats(rng, round_up(n, kPanel));
    w.matrix.bias = w.bias.data();
  }
  return w;
}

// Storage behind a LinearInput with both forms.
struct Rows {
  Rows(uint32_t rows, uint32_t columns)
      : k(columns), ldk(round_up(k, 64)), ldg(round_up((k + 31) / 32, 16)) {
    q.resize(size_t{rows} * ldk);
    x.resize(size_t{rows} * ldk);
    s.resize(size_t{rows} * ldg);
    t.resize(size_t{rows} * ldg);
    a.resize(size_t{rows} * ldg);
    xo.resize(size_t{rows} * kMaxOutliers);
  }
  LinearInput view() {
    return {k, ldk, ldg, q.data(), s.data(), t.data(), a.data(), x.data(), xo.data()};
  }
  LinearInput float_view() {
    return {k, ldk, ldg, nullptr, nullptr, nullptr, nullptr, x.data(), nullptr};
  }
  bool operator==(const Rows& o) const {
    const auto same = [](const auto& l, const auto& r) {
      return std::memcmp(l.data(), r.data(), l.size() * sizeof l[0]) == 0;
    };
    return same(q, o.q) && same(x, o.x) && same(s, o.s) && same(t, o.t) && same(a, o.a) &&
           same(xo, o.xo);
  }
  uint32_t k, ldk, ldg;
  Buffer<int8_t> q;
  Buffer<float> x, s, t, xo;
  Buffer<int32_t> a;
};

// An outlier list over k channels.
struct OutlierList {
  OutlierList(Rng& rng, uint32_t k, uint32_t num) : keep(k / kGroup + 1, ~0u) {
    while (channels.size() < num) {
      const uint32_t c = rng.below(k);
      if (std::find(channels.begin(), channels.end(), c) == channels.end()) {
        channels.push_back(c);
        keep[c / kGroup] &= ~(1u << c % kGroup);
      }
    }
    std::sort(channels.begin(), channels.end());
  }
  Outliers view() const {
    return channels.empty()
               ? Outliers{}
               : Outliers{static_cast<uint32_t>(channels.size()), channels.data(), keep.data()};
  }
  std::vector<uint32_t> channels, keep;
};

}  // namespace stet::kernels::test
