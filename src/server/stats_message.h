// The engine's counts as AdminService sends them.
#pragma once

#include "stet/server/service.h"
#include "stet/v1/admin.pb.h"

namespace stet::server {

// Before a model is served only unix_ms is set.
v1::Stats stats_message(const Service& service);

}  // namespace stet::server
