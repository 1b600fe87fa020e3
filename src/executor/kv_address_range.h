// The addresses of one sequence: block i lies at base() + i * stride. Guards before and behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "src/executor/kv_mapper.h"
#include "stet/base/ids.h"

namespace stet::executor {

// Remembers what is mapped at every index, so that a range that served one sequence serves the next
// with the calls that differ. Owned by the step thread.
class KvAddressRange {
 public:
  // Null when there is no address space.
  static std::unique_ptr<KvAddressRange> reserve(KvMapper* mapper, uint32_t num_blocks);
  KvAddressRange(const KvAddressRange&) = delete;
  KvAddressRange& operator=(const KvAddressRange&) = delete;
  ~KvAddressRange();

  std::byte* base() const { return base_; }
  uint32_t capacity() const { return static_cast<uint32_t>(mapped_.size()); }
  // Lays the slots under the indices from `first` on: one call per run of consecutive slots, none
  // for what is there already. False: the sequence must do without the range.
  bool place(uint32_t first, std::span<const BlockId> slots, bool writable);
  bool forget(uint32_t first, uint32_t num_blocks);
  // False after a failed call: nobody knows what lies at some addresses, which stay behind.
  bool intact() const { return num_lost_ == 0; }
  // How many of these slots, starting at index 0, lie there already.
  uint32_t num_equal(std::span<const BlockId> slots) const;

 private:
  struct Mapped {
    uint32_t slot = kNothing;
    bool writable = false;
    friend bool operator==(const Mapped&, const Mapped&) = default;
  };
  static constexpr uint32_t kNothing = UINT32_MAX;
  enum class Action : uint8_t { kKeep, kProtect, kMap };

  KvAddressRange(KvMapper* mapper, std::byte* reserved, uint32_t num_blocks);
  uint64_t reserved_bytes() const;
  std::byte* address(uint32_t index) const { return base_ + index * mapper_->stride(); }
  Action action(uint32_t index, BlockId slot, bool writable) const;
  bool settle(MapOutcome outcome, uint32_t first, uint32_t num_blocks);
  // The kernel keeps two neighbours as one VMA when they are one piece of the file, or nothing.
  static bool borders(const Mapped& left, const Mapped& right);
  uint32_t borders_of(uint32_t first, uint32_t num_blocks) const;
  template <class F>
  void change(uint32_t first, uint32_t num_blocks, F&& mapped_at);

  KvMapper* const mapper_;
  std::byte* const base_;
  std::vector<Mapped> mapped_;
  uint32_t num_maps_ = 1;    // VMAs, guards included
  uint32_t num_mapped_ = 0;  // blocks
  uint32_t first_lost_ = 0;  // addresses of a failed call, in blocks
  uint32_t num_lost_ = 0;
};

}  // namespace stet::executor
