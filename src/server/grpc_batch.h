// GenerateBatch between gRPC and a BatchJob.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <string>

#include "stet/server/service.h"

namespace stet::server {

// Calls open at once on a server; one more is refused with queue_full. Each may have a request of
// up to limits.max_request_bytes that waits for its place in the queue.
inline constexpr uint32_t kMaxOpenJobs = 16;

// `num_open` counts the open ones.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* start_batch(
    grpc::CallbackServerContext* context, const std::string& version, Service* service,
    std::shared_ptr<std::atomic<uint32_t>> num_open);

}  // namespace stet::server
