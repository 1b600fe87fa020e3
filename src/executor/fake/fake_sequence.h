#pragma once

#include <vector>

#include "stet/executor/fake_backend.h"

namespace stet::executor {

struct FakeBackend::FakeSequence {
  NewSequence record;
  std::vector<uint32_t> token_ids;  // prompt, outputs so far, and what was sampled here
  std::vector<uint64_t> chains;     // [token_ids.size()] what its KV must hold
  std::vector<TableEntry> table;
  uint32_t next_pos = 0;  // end of its last row
  bool started = false;   // has had a row
  bool faulted = false;
};

}  // namespace stet::executor
