// Random inputs of real shapes.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/gemm/layout.h"
#include "kernels/numerics/bits.h"
#include "stet/kernels/kernel_table.h"
#include "stet/kernels/pack.h"

namespace stet::bench {

class Rng {
 public:
  uint32_t next() {
    s_ ^= s_ << 13;
    s_ ^= s_ >> 7;
    s_ ^= s_ << 17;
    return static_cast<uint32_t>(s_ >> 32);
  }
  float uniform() { return static_cast<float>(next() >> 8) * 0x1p-24f - 0.5f; }

 private:
  uint64_t s_ = 88172645463325252u;
};

// Anonymous memory, 2 MiB pages where the system gives them; freed with its owner.
template <class T>
class Pages {
 public:
  explicit Pages(size_t count)
      : bytes_((count * sizeof(T) + (4u << 20)) & ~((size_t{2} << 20) - 1)) {
    p_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(p_, bytes_, MADV_HUGEPAGE);
    std::memset(p_, 0, bytes_);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { munmap(p_, bytes_); }
  T* data() { return static_cast<T*>(p_); }

 private:
  size_t bytes_;
  void* p_;
};

// Packed random weights of a quantised type, whose f16 scales are small and finite.
inline void fill_panels(Rng& rng, kernels::WeightType type, size_t bytes, std::byte* p) {
  const size_t unit = kernels::panel_unit_bytes(type);
  const size_t scales = kernels::unit_scales_at(type);
  for (size_t i = 0; i < bytes; ++i) {
    const bool high_byte_of_scale = i % unit >= scales && i % 2 == 1;
    p[i] = static_cast<std::byte>(high_byte_of_scale ? 0x20 | (rng.next() & 3) : rng.next());
  }
}

struct QuantisedRows {
  QuantisedRows(const kernels::KernelTable& table, uint32_t rows, uint32_t k)
      : ldk((k + 63) / 64 * 64),
        ldg((k / 32 + 15) / 16 * 16),
        q(size_t{rows} * ldk),
        s(size_t{rows} * ldg),
        t(size_t{rows} * ldg),
        a(size_t{rows} * ldg),
        num_rows(rows),
        columns(k) {
    Rng rng;
    std::vector<float> x(k);
    for (uint32_t r = 0; r < rows; ++r) {
      for (float& v : x) {
        v = rng.uniform();
      }
      table.quantise(x.data(), {}, view(), r);
    }
  }
  kernels::LinearInput view() {
    return {columns, ldk, ldg, q.data(), s.data(), t.data(), a.data(), nullptr, nullptr};
  }
  uint32_t ldk, ldg;
  Pages<int8_t> q;
  Pages<float> s, t;
  Pages<int32_t> a;
  uint32_t num_rows, columns;
};

void register_linears(const kernels::KernelTable& table);
void register_attention(const kernels::KernelTable& table);
void register_rows(const kernels::KernelTable& table);

}  // namespace stet::bench
