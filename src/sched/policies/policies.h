// One function per policy; registry.cc lists them.
#pragma once

#include "stet/sched/policy.h"

namespace stet::sched {

Policy fcfs_conservative();
Policy aggressive();
Policy past_future();
Policy past_future_sampled();
Policy prefix_group();
Policy sla();

// Victims that have yielded so often are taken last.
inline constexpr uint32_t kProtectedAfterPreemptions = 2;

std::unique_ptr<OrderPolicy> arrival_order();
std::unique_ptr<OrderPolicy> prefix_order();  // arrival, and groups within windows of it
// Arrival, later by 30 s for every class below the first.
uint64_t aged_arrival_us(const OrderInput& request);

std::unique_ptr<AdmissionPolicy> past_future_admission();
// VictimKey::protection of past_future: whoever has yielded twice yields last.
uint64_t protection_of(const RunningSeq& seq);

}  // namespace stet::sched
