// The one writer of the address ranges: every system call that changes what lies under a sequence's
// addresses goes through here, is counted and timed, and may fail without harm (kv.md sec. 8).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace stet::executor {

enum class MapOutcome : uint8_t {
  kDone,
  kRefused,  // by our own limit, before the call: the addresses are as they were
  kFailed,   // by the system: what lies there now is unknown (POSIX mmap lets it unmap first)
};

// What all ranges together may take of the system.
struct MapBudget {
  uint64_t maps = 0;    // VMAs of the process, vm.max_map_count
  uint64_t blocks = 0;  // mapped blocks: their page tables are memory, 8 bytes for 4 KiB
};

// Owned by the step thread.
class KvMapper {
 public:
  // At this share (percent) of a budget new sequences are paged and warm ranges are unmapped.
  static constexpr uint64_t kSoftShare = 80;
  // Beyond this one running sequences become paged rather than map more. The rest of the process
  // needs maps as well.
  static constexpr uint64_t kHardShare = 90;
  // Each failed call may leave one run of addresses behind that nobody dares to touch. A system
  // that refuses so often is asked no more.
  static constexpr uint64_t kMaxFailedCalls = 16;

  KvMapper(int fd, uint64_t stride, const MapBudget& budget,
           std::function<bool(uint64_t)> fail_map);

  uint64_t stride() const { return stride_; }
  // Address space that cannot be accessed; null when the system has none.
  std::byte* reserve(uint64_t num_bytes);
  void release(std::byte* address, uint64_t num_bytes);
  // Page tables are filled in the same call: one fault per page would cost 3.4 times more.
  MapOutcome map(std::byte* address, uint32_t first_slot, uint32_t num_slots, bool writable);
  MapOutcome make_read_only(std::byte* address, uint32_t num_slots);
  MapOutcome forget(std::byte* address, uint32_t num_slots);  // reserved, inaccessible

  // Ranges report what they have become.
  void count(int64_t maps, int64_t blocks) {
    num_maps_ += static_cast<uint64_t>(maps);
    num_blocks_ += static_cast<uint64_t>(blocks);
  }
  bool over_soft_limit() const {
    return num_maps_ >= soft_.maps || num_blocks_ >= soft_.blocks || gave_up();
  }

  uint64_t num_maps() const { return num_maps_; }
  uint64_t num_calls() const { return num_calls_; }
  uint64_t call_ns() const { return call_ns_; }
  uint64_t reserved_bytes() const { return reserved_bytes_; }

 private:
  bool gave_up() const { return num_failed_ >= kMaxFailedCalls; }
  bool over_hard_limit(uint32_t num_new_blocks) const;
  template <class F>
  MapOutcome timed(F&& call);

  const int fd_;
  const uint64_t stride_;
  const MapBudget soft_, hard_;
  const std::function<bool(uint64_t)> fail_map_;
  uint64_t num_maps_ = 0;
  uint64_t num_blocks_ = 0;
  uint64_t num_calls_ = 0;
  uint64_t num_failed_ = 0;
  uint64_t call_ns_ = 0;
  uint64_t reserved_bytes_ = 0;
};

// vm.max_map_count; the kernel's default where /proc does not say.
uint64_t read_max_map_count();

}  // namespace stet::executor
