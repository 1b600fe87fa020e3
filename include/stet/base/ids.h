// Strong ids: a block id cannot be passed where a sequence id is wanted.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace stet {

template <class Tag, class Rep>
struct StrongId {
  Rep v{};
  friend constexpr auto operator<=>(StrongId, StrongId) = default;
};

using RequestId =
    StrongId<struct RequestTag, uint64_t>;  // one per accepted request, never reused in a process
using SeqId =
    StrongId<struct SeqTag, uint64_t>;  // one per choice of a request, never reused in a process
using BlockId = StrongId<struct BlockTag, uint32_t>;  // a slot of the KV pool (kv.md names it slot)

}  // namespace stet

template <class Tag, class Rep>
struct std::hash<stet::StrongId<Tag, Rep>> {
  size_t operator()(stet::StrongId<Tag, Rep> id) const noexcept { return std::hash<Rep>{}(id.v); }
};
