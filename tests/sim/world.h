// Runs one world: the real EngineCore on a FakeBackend under a virtual clock, checked after every
// step.
#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/planted.h"
#include "tests/sim/world_config.h"

namespace stet::sim {

struct RunReport {
  std::string failure;  // empty = all checks held; else the first one that did not, with the step
  uint64_t plan_digest = 0;  // of all plans: equal for equal runs
  Coverage coverage;
};

RunReport run_world(const WorldConfig& world, Planted planted = Planted::kNone);

}  // namespace stet::sim
