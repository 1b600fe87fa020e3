// The errors of a call's life, each in one place: from states, refusals and endings of the engine
// to statuses.
#pragma once

#include <cstdint>
#include <string>

#include "src/server/api_error.h"
#include "stet/engine/engine.h"
#include "stet/server/service.h"

namespace stet::server {

ApiError not_ready(ServingState state);
ApiError malformed_request();  // bytes that are no message
ApiError cancelled_by_client();
ApiError deadline_passed(const char* where);
ApiError slow_reader();
ApiError queue_full(const char* what, uint64_t limit, uint64_t requested, uint64_t retry_after_us);
ApiError refused(const engine::Submission& submission);
// `event` is a kRequestEnded whose status is not OK.
ApiError ended_with_error(const engine::EngineEvent& event);

}  // namespace stet::server
