// The bytes of the KV cache: block ids above, addresses below (kv.md sec. 2). Kernels receive a
// KvView and never know which implementation gave it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "stet/base/ids.h"
#include "stet/base/status.h"
#include "stet/kernels/types.h"

namespace stet::executor {

struct KvMemoryStats {
  uint64_t pool_bytes = 0;
  uint32_t num_sequences = 0;
  uint64_t mapped_blocks = 0;  // table entries of all sequences
  uint64_t copied_blocks = 0;  // by privatise and copy, since open
};

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

}  // namespace stet::executor
