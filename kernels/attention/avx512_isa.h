// AVX-512 as passes.h and group_passes.h want an instruction set, over a Dot.
#pragma once

#include "kernels/attention/avx512_pipeline.h"
#include "kernels/attention/group_passes.h"

namespace stet::kernels {
namespace {

template <class Dot>
struct Avx512 {
  static constexpr uint32_t kDimMultiple = 16;
  static constexpr bool kHasPipeline = true;
  // Fewer rows wait for memory, not for products: they do better in batches, whose loops prefetch
  // evenly.
  static constexpr uint32_t kMinPipelineRows = 16;
  using Pipeline = stet::kernels::Pipeline;

  static void meet_tile(const TileView& tile, const Batch& b, Work* w) {
    stet::kernels::meet_tile<Dot>(tile, b, w);
  }
  template <class Address>
  static void run_pipeline(uint32_t num_tiles, uint32_t rows, uint32_t head_dim,
                           const Address& address, States* s, Pipeline* pipe) {
    stet::kernels::run_pipeline<Dot>(num_tiles, rows, head_dim, address, s, pipe);
  }
  static void merge_row(float* o, const float* o2, float a, float b, uint32_t head_dim) {
    stet::kernels::merge_row(o, o2, a, b, head_dim);
  }
  static void write_row(const float* o, float l, uint32_t head_dim, float* out) {
    stet::kernels::write_row(o, l, head_dim, out);
  }
};

}  // namespace
}  // namespace stet::kernels
