// From the configuration to the options of each room. No decisions here.
#pragma once

#include <string>

#include "stet/base/status.h"
#include "stet/config/v1/config.pb.h"
#include "stet/engine/engine.h"
#include "stet/executor/kv_memory.h"
#include "stet/kernels/kernel_table.h"
#include "stet/obs/log.h"
#include "stet/proxy/openai_server.h"
#include "stet/server/grpc_server.h"
#include "stet/server/service.h"

namespace stet::daemon {

server::Limits limits_of(const config::v1::Config& config);
server::GrpcOptions grpc_options_of(const config::v1::Config& config);
proxy::HttpOptions http_options_of(const config::v1::Config& config);
engine::EngineOptions engine_options_of(const config::v1::Config& config);
obs::LogOptions log_options_of(const config::v1::Config& config);
// The forced table if this CPU runs it, else UNAVAILABLE; the best one for "auto".
Result<const kernels::KernelTable*> kernel_table_of(const config::v1::Config& config);

executor::KvMode kv_mode_of(const config::v1::Config& config);

// `configured` with the port that was taken in place of 0; "" stays "".
std::string bound_address(const std::string& configured, int port);

}  // namespace stet::daemon
