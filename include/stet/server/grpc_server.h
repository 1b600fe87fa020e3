// The gRPC listeners over a Service: InferenceService, ModelService, health, reflection;
// AdminService on its own listener.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "stet/base/status.h"
#include "stet/server/service.h"

namespace stet::server {

struct GrpcOptions {
  std::string address =
      "127.0.0.1:50051";  // host:port or unix:path; port 0 = any: see GrpcServer::port
  std::string admin_address = "127.0.0.1:50052";  // "" = no admin listener
  uint64_t max_message_bytes = 4u << 20;
  uint32_t max_metadata_bytes = 8u << 10;
  uint32_t max_streams_per_connection = 100;
  bool reflection = true;
};

// What AdminService may ask of the daemon.
struct AdminHooks {
  std::function<void(uint32_t deadline_ms, bool exit_when_done)> drain;
  std::function<std::string()> config_json;
  std::string version, commit, backend, device;
  int64_t start_unix_ms = 0;
};

class GrpcServer {
 public:
  // Binds and starts both listeners; UNAVAILABLE names the address that is taken.
  static Result<std::unique_ptr<GrpcServer>> start(const GrpcOptions& options, Service* service,
                                                   AdminHooks hooks);
  virtual ~GrpcServer() = default;
  virtual int port() const = 0;  // of address, when it is host:port
  virtual int admin_port() const = 0;
  virtual void set_serving(
      bool ready,
      bool live) = 0;  // health: "", stet.v1.InferenceService = ready; stet.live = alive
  virtual void shutdown(uint64_t grace_us) = 0;
};

}  // namespace stet::server
