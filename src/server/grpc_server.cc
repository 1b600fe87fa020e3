#include "stet/server/grpc_server.h"

#include <dlfcn.h>
#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <utility>

#include "src/server/grpc_services.h"
#include "src/server/unix_socket.h"
#include "stet/obs/log.h"

namespace stet::server {
namespace {

constexpr int kKeepaliveMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kMinClientPingMs = 100;  // ten pings a second are no offence
constexpr const char* kServices[] = {"", "stet.v1.InferenceService"};

// Both libraries write to stderr in formats of their own; their lines belong into the structured
// log. A client can cause the protobuf ones at will, so those stay below info.
void take_over_library_logs() {
  gpr_set_log_function([](gpr_log_func_args* line) {
    if (line->severity == GPR_LOG_SEVERITY_ERROR) {
      obs::log_warn("server", "grpc", {{"text", line->message}});
    }
  });
  google::protobuf::SetLogHandler(
      [](google::protobuf::LogLevel, const char*, int, const std::string& text) {
        obs::log_debug("server", "protobuf", {{"text", text}});
      });
}

// The library registers its plugin for every ServerBuilder of the process when it is loaded, and
// has no other switch. TSan and ASan see it like any library.
Status load_reflection() {
  static void* const library = dlopen(STET_GRPC_REFLECTION_LIBRARY, RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    return unavailable(std::string("gRPC reflection: ") + STET_GRPC_REFLECTION_LIBRARY +
                       " cannot be loaded");
  }
  return {};
}

void set_limits(const GrpcOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder->SetMaxSendMessageSize(-1);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                              static_cast<int>(options.max_metadata_bytes));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              static_cast<int>(options.max_streams_per_connection));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  // A long silent prefill: pings go on without data, from both sides.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kMinClientPingMs);
  // By default Linux lets two servers share a port: the second would steal calls instead of
  // failing.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Reflection is the only synchronous service.
  builder->SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
}

struct Listener {
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

Result<Listener> listen(const GrpcOptions& options, const std::string& address,
                        const std::vector<grpc::Service*>& services) {
  const std::string path = unix_path(address);
  if (!path.empty() && somebody_listens(path)) {
    return unavailable("cannot listen on " + address + ": another process does");
  }
  Listener out;
  grpc::ServerBuilder builder;
  set_limits(options, &builder);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &out.port);
  for (grpc::Service* service : services) {
    builder.RegisterService(service);
  }
  out.server = builder.BuildAndStart();
  if (out.server == nullptr || (path.empty() && out.port <= 0)) {
    return unavailable("cannot listen on " + address +
                       ": the address is taken, not of this machine, or not permitted");
  }
  if (!path.empty()) {
    STET_RETURN_IF_ERROR(restrict_to_owner(path));
  }
  return out;
}

class GrpcServerImpl final : public GrpcServer {
 public:
  GrpcServerImpl(Service* service, AdminHooks hooks)
      : hooks_(std::move(hooks)),
        inference_(make_inference_service(service, &hooks_)),
        models_(make_model_service(service, &hooks_)),
        admin_(make_admin_service(service, &hooks_)) {}
  ~GrpcServerImpl() override { shutdown(0); }

  Status listen_on(const GrpcOptions& options) {
    STET_ASSIGN_OR_RETURN(main_,
                          listen(options, options.address, {inference_.get(), models_.get()}));
    if (!options.admin_address.empty()) {
      STET_ASSIGN_OR_RETURN(admin_listener_,
                            listen(options, options.admin_address, {admin_.get()}));
    }
    set_serving(/*ready=*/false, /*live=*/true);
    return {};
  }

  int port() const override { return main_.port; }
  int admin_port() const override { return admin_listener_.port; }

  void set_serving(bool ready, bool live) override {
    for (const Listener* listener : {&main_, &admin_listener_}) {
      if (listener->server == nullptr) {
        continue;
      }
      grpc::HealthCheckServiceInterface* health = listener->server->GetHealthCheckService();
      for (const char* name : kServices) {
        health->SetServingStatus(name, ready);
      }
      health->SetServingStatus("stet.live", live);
    }
  }

  void shutdown(uint64_t grace_us) override {
    const auto deadline = std::chrono::system_clock::now() + std::chrono::microseconds(grace_us);
    for (Listener* listener : {&main_, &admin_listener_}) {
      if (listener->server != nullptr) {
        listener->server->Shutdown(deadline);
      }
    }
  }

 private:
  const AdminHooks hooks_;
  const std::unique_ptr<grpc::Service> inference_, models_, admin_;
  Listener main_, admin_listener_;  // end before the services they call
};

}  // namespace

Result<std::unique_ptr<GrpcServer>> GrpcServer::start(const GrpcOptions& options, Service* service,
                                                      AdminHooks hooks) {
  take_over_library_logs();
  if (options.reflection) {
    STET_RETURN_IF_ERROR(load_reflection());
  }
  grpc::EnableDefaultHealthCheckService(true);
  auto server = std::make_unique<GrpcServerImpl>(service, std::move(hooks));
  STET_RETURN_IF_ERROR(server->listen_on(options));
  return std::unique_ptr<GrpcServer>(std::move(server));
}

}  // namespace stet::server
