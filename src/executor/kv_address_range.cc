#include "src/executor/kv_address_range.h"

#include <algorithm>

#include "stet/base/check.h"

namespace stet::executor {

std::unique_ptr<KvAddressRange> KvAddressRange::reserve(KvMapper* mapper, uint32_t num_blocks) {
  // One slot more on each side: a step beyond either end meets no neighbour's bytes.
  std::byte* reserved = mapper->reserve((uint64_t{num_blocks} + 2) * mapper->stride());
  return std::unique_ptr<KvAddressRange>(
      reserved == nullptr ? nullptr : new KvAddressRange(mapper, reserved, num_blocks));
}

KvAddressRange::KvAddressRange(KvMapper* mapper, std::byte* reserved, uint32_t num_blocks)
    : mapper_(mapper), base_(reserved + mapper->stride()), mapped_(num_blocks) {
  mapper_->count(1, 0);
}

KvAddressRange::~KvAddressRange() {
  std::byte* const begin = base_ - mapper_->stride();
  std::byte* const end = begin + (uint64_t{capacity()} + 2) * mapper_->stride();
  mapper_->count(-int64_t{num_maps_}, -int64_t{num_mapped_});
  if (intact()) {
    mapper_->release(begin, static_cast<uint64_t>(end - begin));
    return;
  }
  // The addresses of the failed call may be anybody's by now: unmapping them could hit others.
  mapper_->count(1, num_lost_);
  std::byte* const lost = address(first_lost_);
  std::byte* const behind = address(first_lost_ + num_lost_);
  mapper_->release(begin, static_cast<uint64_t>(lost - begin));
  mapper_->release(behind, static_cast<uint64_t>(end - behind));
}

uint32_t KvAddressRange::num_equal(std::span<const BlockId> slots) const {
  uint32_t num = 0;
  for (size_t i = 0; i < slots.size() && i < mapped_.size(); ++i) {
    num += mapped_[i].slot == slots[i].v ? 1 : 0;
  }
  return num;
}

KvAddressRange::Action KvAddressRange::action(uint32_t index, BlockId slot, bool writable) const {
  const Mapped& now = mapped_[index];
  if (now.slot != slot.v) {
    return Action::kMap;
  }
  if (now.writable == writable) {
    return Action::kKeep;
  }
  // Taking the right to write away keeps the page tables; giving it would fault at each page's
  // first write, so the slot is mapped anew.
  return writable ? Action::kMap : Action::kProtect;
}

bool KvAddressRange::place(uint32_t first, std::span<const BlockId> slots, bool writable) {
  STET_CHECK(intact(), "nothing is placed in a range that lost addresses");
  const auto num = static_cast<uint32_t>(slots.size());
  STET_CHECK(uint64_t{first} + num <= mapped_.size(), "blocks within the range");
  for (uint32_t begin = 0, end = 0; begin < num; begin = end) {
    const Action run = action(first + begin, slots[begin], writable);
    for (end = begin + 1; end < num; ++end) {
      const bool consecutive = run != Action::kMap || slots[end].v == slots[end - 1].v + 1;
      if (!consecutive || action(first + end, slots[end], writable) != run) {
        break;
      }
    }
    if (run == Action::kKeep) {
      continue;
    }
    const uint32_t index = first + begin, num_slots = end - begin;
    const MapOutcome outcome =
        run == Action::kProtect ? mapper_->make_read_only(address(index), num_slots)
                                : mapper_->map(address(index), slots[begin].v, num_slots, writable);
    if (!settle(outcome, index, num_slots)) {
      return false;
    }
    change(index, num_slots, [&](uint32_t i) { return Mapped{slots[i - first].v, writable}; });
  }
  return true;
}

bool KvAddressRange::forget(uint32_t first, uint32_t num_blocks) {
  STET_CHECK(intact(), "nothing is forgotten in a range that lost addresses");
  STET_CHECK(uint64_t{first} + num_blocks <= mapped_.size(), "blocks within the range");
  const auto begin = mapped_.begin() + first;
  const bool nothing =
      std::all_of(begin, begin + num_blocks, [](const Mapped& m) { return m.slot == kNothing; });
  if (nothing) {
    return true;
  }
  if (!settle(mapper_->forget(address(first), num_blocks), first, num_blocks)) {
    return false;
  }
  change(first, num_blocks, [](uint32_t) { return Mapped{}; });
  return true;
}

bool KvAddressRange::settle(MapOutcome outcome, uint32_t first, uint32_t num_blocks) {
  if (outcome == MapOutcome::kFailed) {
    first_lost_ = first;
    num_lost_ = num_blocks;
  }
  return outcome == MapOutcome::kDone;
}

bool KvAddressRange::borders(const Mapped& left, const Mapped& right) {
  if (left.slot == kNothing || right.slot == kNothing) {
    return left.slot != right.slot;
  }
  return right.slot != left.slot + 1 || right.writable != left.writable;
}

// Borders on either side of and between the blocks; a guard is nothing.
uint32_t KvAddressRange::borders_of(uint32_t first, uint32_t num_blocks) const {
  uint32_t num = 0;
  for (uint32_t i = first; i <= first + num_blocks; ++i) {
    const Mapped left = i == 0 ? Mapped{} : mapped_[i - 1];
    const Mapped right = i == mapped_.size() ? Mapped{} : mapped_[i];
    num += borders(left, right) ? 1 : 0;
  }
  return num;
}

template <class F>
void KvAddressRange::change(uint32_t first, uint32_t num_blocks, F&& mapped_at) {
  const uint32_t before = borders_of(first, num_blocks);
  int64_t blocks = 0;
  for (uint32_t i = first; i < first + num_blocks; ++i) {
    blocks -= mapped_[i].slot != kNothing ? 1 : 0;
    mapped_[i] = mapped_at(i);
    blocks += mapped_[i].slot != kNothing ? 1 : 0;
  }
  const int64_t maps = int64_t{borders_of(first, num_blocks)} - before;
  num_maps_ = static_cast<uint32_t>(num_maps_ + maps);
  num_mapped_ = static_cast<uint32_t>(num_mapped_ + blocks);
  mapper_->count(maps, blocks);
}

}  // namespace stet::executor
