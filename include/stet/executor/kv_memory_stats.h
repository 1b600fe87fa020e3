// What the bytes of the KV cache cost and hold, for metrics and tests.
#pragma once

#include <cstdint>

namespace stet::executor {

struct KvMemoryStats {
  uint64_t pool_bytes = 0;
  uint32_t num_sequences = 0;
  uint64_t mapped_blocks = 0;  // table entries of all sequences
  uint64_t copied_blocks = 0;  // by privatise and copy, since open

  // Virtual mode only, 0 when paged.
  uint64_t aliased_blocks = 0;   // of mapped_blocks: by share and replace, so read-only
  uint64_t reserved_bytes = 0;   // address space of all ranges, guards included
  uint32_t num_warm_ranges = 0;  // of destroyed sequences, mappings kept for the next ones
  uint64_t num_maps = 0;         // VMAs of all ranges, as counted against vm.max_map_count
  uint64_t map_calls = 0;        // system calls that map, protect or unmap, since open
  uint64_t map_us = 0;           // time in these calls
  uint64_t paged_fallbacks = 0;  // sequences that became paged: a refused call or the map limit
};

}  // namespace stet::executor
