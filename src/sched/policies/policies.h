// One function per policy; registry.cc lists them.
#pragma once

#include "stet/sched/policy.h"

namespace stet::sched {

Policy fcfs_conservative();
Policy aggressive();
Policy past_future();
Policy past_future_sampled();
Policy prefix_group();

std::unique_ptr<OrderPolicy> arrival_order();
std::unique_ptr<OrderPolicy> prefix_order();  // arrival, and groups within windows of it

}  // namespace stet::sched
