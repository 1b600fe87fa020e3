// What a configuration and a model need of the machine's memory.
#pragma once

#include "stet/base/status.h"
#include "stet/config/v1/config.pb.h"
#include "stet/executor/memory_plan.h"
#include "stet/model/model.h"

namespace stet::daemon {

// Rows of operations.md sec. 5. RESOURCE_EXHAUSTED with the table when it does not fit.
Result<executor::MemoryPlan> plan_daemon_memory(const config::v1::Config& config,
                                                const model::ModelSummary& summary,
                                                uint32_t num_threads);

}  // namespace stet::daemon
