#include "src/executor/kv_mapper.h"

#include <sys/mman.h>

#include <chrono>
#include <fstream>
#include <utility>

namespace stet::executor {

namespace {

MapBudget share_of(const MapBudget& budget, uint64_t percent) {
  return {budget.maps * percent / 100, budget.blocks * percent / 100};
}

}  // namespace

uint64_t read_max_map_count() {
  uint64_t count = 65530;
  std::ifstream("/proc/sys/vm/max_map_count") >> count;
  return count != 0 ? count : 65530;  // a failed read sets 0
}

KvMapper::KvMapper(int fd, uint64_t stride, const MapBudget& budget,
                   std::function<bool(uint64_t)> fail_map)
    : fd_(fd),
      stride_(stride),
      soft_(share_of(budget, kSoftShare)),
      hard_(share_of(budget, kHardShare)),
      fail_map_(std::move(fail_map)) {}

std::byte* KvMapper::reserve(uint64_t num_bytes) {
  void* address = MAP_FAILED;
  const MapOutcome outcome = timed([&] {
    address =
        mmap(nullptr, num_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address != MAP_FAILED;
  });
  if (outcome != MapOutcome::kDone) {
    return nullptr;
  }
  reserved_bytes_ += num_bytes;
  return static_cast<std::byte*>(address);
}

void KvMapper::release(std::byte* address, uint64_t num_bytes) {
  // At the map limit even this can be refused; then the addresses stay behind, as after a failed
  // call.
  if (num_bytes != 0 && munmap(address, num_bytes) == 0) {
    reserved_bytes_ -= num_bytes;
  }
}

// A map in the middle of another makes three of one.
bool KvMapper::over_hard_limit(uint32_t num_new_blocks) const {
  return num_maps_ + 2 > hard_.maps || num_blocks_ + num_new_blocks > hard_.blocks || gave_up();
}

template <class F>
MapOutcome KvMapper::timed(F&& call) {
  if (fail_map_ && fail_map_(num_calls_)) {
    ++num_calls_;
    ++num_failed_;
    return MapOutcome::kFailed;
  }
  const auto begin = std::chrono::steady_clock::now();
  const bool done = call();
  call_ns_ += static_cast<uint64_t>((std::chrono::steady_clock::now() - begin) /
                                    std::chrono::nanoseconds(1));
  ++num_calls_;
  num_failed_ += done ? 0 : 1;
  return done ? MapOutcome::kDone : MapOutcome::kFailed;
}

MapOutcome KvMapper::map(std::byte* address, uint32_t first_slot, uint32_t num_slots,
                         bool writable) {
  if (over_hard_limit(num_slots)) {
    return MapOutcome::kRefused;
  }
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  const uint64_t offset = first_slot * stride_;
  return timed([&] {
    return mmap(address, num_slots * stride_, protection, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
                fd_, static_cast<off_t>(offset)) != MAP_FAILED;
  });
}

MapOutcome KvMapper::make_read_only(std::byte* address, uint32_t num_slots) {
  if (over_hard_limit(0)) {
    return MapOutcome::kRefused;
  }
  return timed([&] { return mprotect(address, num_slots * stride_, PROT_READ) == 0; });
}

MapOutcome KvMapper::forget(std::byte* address, uint32_t num_slots) {
  return timed([&] {
    return mmap(address, num_slots * stride_, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
  });
}

}  // namespace stet::executor
