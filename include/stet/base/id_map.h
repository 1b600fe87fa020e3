// A map from ids that are handed out in order and never reused (SeqId, RequestId) to values, for
// tables that every step walks by id: one cache line per look-up, where std::unordered_map touches
// three. Open addressing with the id itself as hash, so that ids in a row lie in a row; erasing
// moves what follows back, so nothing is left behind. Id{} is no key.
//
// Not thread-safe. Values move when the map grows or something is erased: keep no pointers to them.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "stet/base/check.h"

namespace stet {

template <class Id, class T>
class IdMap {
 public:
  T* find(Id id) {
    const size_t at = slot_of(id);
    return slots_[at].id == id && id != Id{} ? &slots_[at].value : nullptr;
  }
  const T* find(Id id) const { return const_cast<IdMap*>(this)->find(id); }

  T& at(Id id) {
    T* value = find(id);
    STET_CHECK(value != nullptr, "the id is in the map");
    return *value;
  }

  // False, and nothing happens, if the id is there already.
  bool emplace(Id id, T value) {
    STET_CHECK(id != Id{}, "Id{} is no key");
    if (2 * (size_ + 1) > slots_.size()) {
      grow();
    }
    Slot& slot = slots_[slot_of(id)];
    if (slot.id == id) {
      return false;
    }
    slot = {id, std::move(value)};
    ++size_;
    return true;
  }

  // Whether it was there.
  bool erase(Id id) {
    if (find(id) == nullptr) {
      return false;
    }
    const size_t mask = slots_.size() - 1;
    size_t hole = slot_of(id);
    for (size_t i = (hole + 1) & mask; slots_[i].id != Id{}; i = (i + 1) & mask) {
      // Moves back unless its home lies behind the hole.
      if (((i - home(slots_[i].id)) & mask) >= ((i - hole) & mask)) {
        slots_[hole] = std::move(slots_[i]);
        hole = i;
      }
    }
    slots_[hole] = {};
    --size_;
    return true;
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  struct Slot {
    Id id{};
    T value{};
  };

  // Over all slots, in no particular order; invalid once the map changes.
  class const_iterator {
   public:
    const_iterator(const Slot* at, const Slot* end) : at_(at), end_(end) { skip(); }
    const Slot& operator*() const { return *at_; }
    const_iterator& operator++() {
      ++at_;
      skip();
      return *this;
    }
    bool operator==(const const_iterator& other) const { return at_ == other.at_; }

   private:
    void skip() {
      while (at_ != end_ && at_->id == Id{}) {
        ++at_;
      }
    }
    const Slot* at_;
    const Slot* end_;
  };
  const_iterator begin() const { return {slots_.data(), slots_.data() + slots_.size()}; }
  const_iterator end() const {
    return {slots_.data() + slots_.size(), slots_.data() + slots_.size()};
  }

 private:
  size_t home(Id id) const { return static_cast<size_t>(id.v) & (slots_.size() - 1); }

  // Where the id is, or would go. At most half of the slots are taken, so there is an end.
  size_t slot_of(Id id) const {
    size_t at = home(id);
    while (slots_[at].id != Id{} && slots_[at].id != id) {
      at = (at + 1) & (slots_.size() - 1);
    }
    return at;
  }

  void grow() {
    std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
    for (Slot& slot : old) {
      if (slot.id != Id{}) {
        slots_[slot_of(slot.id)] = std::move(slot);
      }
    }
  }

  std::vector<Slot> slots_ = std::vector<Slot>(16);
  size_t size_ = 0;
};

}  // namespace stet
