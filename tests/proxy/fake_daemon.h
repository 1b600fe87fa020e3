// A gRPC server that plays scripts: what GrpcClient is tested against.
#pragma once

#include <grpcpp/server.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "stet/v1/inference.grpc.pb.h"
#include "stet/v1/model.grpc.pb.h"
#include "tests/proxy/scripted_model.h"

namespace stet::proxy::testing {

// Thread-safe.
class FakeDaemon final : public v1::InferenceService::Service, public v1::ModelService::Service {
 public:
  // Listens on a free loopback port as well, unless `address` says where.
  explicit FakeDaemon(const std::string& address = "127.0.0.1:0");
  ~FakeDaemon() override;

  void set_serving(bool serving);
  void set_live(bool live);
  std::shared_ptr<grpc::Channel> in_process_channel();
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // From now on a Chat sends `num_events` Deltas without end of script and then waits to be
  // cancelled.
  void hold_calls(int num_events) { held_events_ = num_events; }
  bool wait_cancelled();
  int num_written() const { return num_written_; }
  std::string last_request_id();

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status Chat(grpc::ServerContext* context, const v1::ChatRequest* request,
                    grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status ListModels(grpc::ServerContext* context, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override;

 private:
  void note(grpc::ServerContext* context);
  grpc::Status hold(grpc::ServerContext* context, grpc::ServerWriter<v1::GenerateResponse>* writer);

  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::atomic<int> held_events_{-1};
  std::atomic<int> num_written_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool cancelled_ = false;
  bool stopping_ = false;
  std::string last_request_id_;
};

}  // namespace stet::proxy::testing
