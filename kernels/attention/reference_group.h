// Group attention, the definition: every member alone. That tiles are shared saves reading, it
// changes nothing (C5).
#pragma once

#include "kernels/attention/reference.h"

namespace stet::kernels::reference {

static inline void attention_group(const GroupAttentionArgs& args) {
  for (uint32_t i = 0; i < args.num_members; ++i) {
    attention(member_args(args, i));
  }
}

static inline void attention_group_segment(const GroupAttentionArgs& args, uint32_t segment) {
  for (uint32_t i = 0; i < args.num_members; ++i) {
    attention_segment(member_args(args, i), segment, args.members[i].states);
  }
}

}  // namespace stet::kernels::reference
