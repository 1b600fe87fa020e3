// The bytes of the KV cache: block ids above, addresses below (kv.md sec. 2). Kernels receive a
// KvView and never know which implementation gave it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "stet/base/ids.h"
#include "stet/base/status.h"
#include "stet/executor/kv_memory_stats.h"
#include "stet/kernels/types.h"

namespace stet::executor {

// What memory of blocks is filled with where tests want unwritten positions to show: bf16 0xFFFF is
// a NaN.
inline constexpr int kPoisonByte = 0xFF;

// How a sequence's blocks are addressed. Never changes a bit of output (kv.md sec. 13.6).
enum class KvMode : uint8_t {
  kPaged,    // PagedAttention: a table of slots per sequence
  kVirtual,  // vAttention: slots mapped side by side under one address range per sequence
};
const char* kv_mode_name(KvMode mode);  // "paged"
std::optional<KvMode> kv_mode_of_name(std::string_view name);
// Bytes from one slot to the next: a slot that is mapped by itself ends at a page's border.
uint64_t kv_slot_stride(KvMode mode, uint64_t block_bytes);
// Virtual mode maps at most this many times the pool, warm ranges included, beside the pool itself:
// a bound on page tables. Sequences that share more than that are paged.
inline constexpr uint64_t kMaxMappedPools = 5;
// What a block takes of memory beside its bytes: padding of its slot and page tables.
uint64_t kv_mapping_bytes(KvMode mode, uint64_t block_bytes);
Status check_kv_pool(const kernels::KvTileLayout& layout, uint32_t num_blocks);

// Block tables and bytes of one KV group. The caller (KvCache) decides which slot is whose: a wrong
// order of calls is a broken invariant, so nothing here returns a Status except open. Owned by the
// step thread.
class KvMemory {
 public:
  virtual ~KvMemory() = default;
  // Reserves a table (or an address range) for up to max_blocks.
  virtual void create(SeqId seq, uint32_t max_blocks) = 0;
  virtual void append(SeqId seq,
                      std::span<const BlockId> slots) = 0;  // private, writable, at the end
  virtual void share(SeqId seq,
                     std::span<const BlockId> slots) = 0;  // read-only aliases, at the end
  virtual void privatise(SeqId seq, uint32_t index, BlockId new_slot) = 0;  // copy-on-write
  virtual void replace(SeqId seq, uint32_t index,
                       BlockId slot) = 0;                     // becomes an alias of equal bytes
  virtual void truncate(SeqId seq, uint32_t num_blocks) = 0;  // keeps the first num_blocks
  virtual void drop_front(
      SeqId seq, uint32_t num_blocks) = 0;  // forgets blocks before this index; indices stay
  virtual void destroy(SeqId seq) = 0;
  virtual void copy(BlockId from, BlockId to) = 0;
  virtual bool contains(SeqId seq) const = 0;
  virtual kernels::KvView view(
      SeqId seq) const = 0;  // valid until the next call that changes this sequence
  virtual std::span<std::byte> block(BlockId slot) = 0;
  virtual KvMemoryStats stats() const = 0;
};

struct PagedKvOptions {
  kernels::KvTileLayout layout;
  uint32_t num_blocks = 0;
  bool poison = false;  // fills every block with NaN when it is opened and whenever it is appended
};
// One anonymous arena on huge pages where the kernel gives them; the system zero-fills a page at
// its first touch, so that start-up does not wait for the pool.
Result<std::unique_ptr<KvMemory>> open_paged_kv_memory(const PagedKvOptions& options);

struct VirtualKvOptions {
  kernels::KvTileLayout layout;
  uint32_t num_blocks = 0;
  uint32_t max_sequence_blocks = 0;  // a range's length; a longer sequence is paged; 0 = num_blocks
  bool poison = false;               // as above
  bool guard = false;  // tests: what a sequence gives up is unmapped at once, a stray access faults
  uint32_t prefault_threads = 0;  // write every page before open returns; 0 = at its first mapping
  uint64_t max_maps = 0;          // VMAs of a process; 0 = vm.max_map_count
  // Tests: true makes the n-th system call (from 0: reserve, map, protect, unmap) fail.
  std::function<bool(uint64_t call)> fail_map;
};
// vAttention (ASPLOS 2025) on the CPU: one memfd for the pool, one reserved address range per
// sequence, views without a table. Nothing here fails a sequence: where mapping is refused it is
// paged over the same slots, and one batch may hold both forms. kv.md sec. 8.
Result<std::unique_ptr<KvMemory>> open_virtual_kv_memory(const VirtualKvOptions& options);

}  // namespace stet::executor
