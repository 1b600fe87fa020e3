// The gRPC services of a daemon, as grpc::Service objects. gRPC headers are heavy: only grpc_*.cc
// include this.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>

#include <memory>
#include <string>

#include "stet/server/grpc_server.h"
#include "stet/server/service.h"

namespace stet::server {

// `service` and `hooks` outlive what is returned.
std::unique_ptr<grpc::Service> make_inference_service(Service* service, const AdminHooks* hooks);
std::unique_ptr<grpc::Service> make_model_service(Service* service, const AdminHooks* hooks);
std::unique_ptr<grpc::Service> make_admin_service(Service* service, const AdminHooks* hooks);

}  // namespace stet::server
