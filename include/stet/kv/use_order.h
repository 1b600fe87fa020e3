// In what order waiting sequences will come to use the cache: what the eviction policy `future`
// looks at. Implemented by the scheduler's queue.
#pragma once

#include "stet/base/ids.h"

namespace stet::kv {

// Walks from the sequence that will be looked at last towards the one that is next. SeqId{} = the
// end. Valid until the order changes.
class UseOrder {
 public:
  virtual ~UseOrder() = default;
  virtual SeqId last() const = 0;
  virtual SeqId before(SeqId seq) const = 0;
};

}  // namespace stet::kv
