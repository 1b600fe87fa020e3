// A stream that sends what `read` gives: at once, and then once per interval until the client
// leaves or the server stops.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>

namespace stet::server {

// Both delete themselves when gRPC is done with them.
grpc::ServerWriteReactor<grpc::ByteBuffer>* start_watch(std::function<grpc::ByteBuffer()> read,
                                                        std::chrono::milliseconds interval);
grpc::ServerWriteReactor<grpc::ByteBuffer>* refuse_watch(const grpc::Status& status);

}  // namespace stet::server
