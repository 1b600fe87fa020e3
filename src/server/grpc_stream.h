// One streamed call between gRPC and the Service. gRPC headers are heavy: only grpc_*.cc include
// this.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <string>

#include "google/rpc/status.pb.h"
#include "stet/server/service.h"

namespace stet::server {

// code, message and the serialised google.rpc.Status as grpc-status-details-bin.
grpc::Status to_grpc(const google::rpc::Status& status);
// What the client's call says, for the service. A deadline that has passed is one that passes now.
CallContext call_context(const grpc::CallbackServerContext& context, const Clock& clock);
std::string client_header(const grpc::CallbackServerContext& context, const char* name);

// Parses the request (so that bad bytes are INVALID_ARGUMENT like every bad input), starts the call
// and returns the reactor that gRPC drives. `Request` is v1::GenerateRequest or v1::ChatRequest.
template <class Request>
grpc::ServerWriteReactor<grpc::ByteBuffer>* start_stream(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer& bytes,
                                                         const std::string& version,
                                                         Service* service);

}  // namespace stet::server
