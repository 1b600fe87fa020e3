#include "tests/proxy/fake_daemon.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>

namespace stet::proxy::testing {
namespace {

grpc::Status to_grpc(const google::rpc::Status& status) {
  if (status.code() == 0) {
    return grpc::Status::OK;
  }
  return {static_cast<grpc::StatusCode>(status.code()), status.message(),
          status.SerializeAsString()};
}

}  // namespace

FakeDaemon::FakeDaemon(const std::string& address) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(static_cast<v1::InferenceService::Service*>(this));
  builder.RegisterService(static_cast<v1::ModelService::Service*>(this));
  builder.SetMaxReceiveMessageSize(100'000);
  server_ = builder.BuildAndStart();
}

FakeDaemon::~FakeDaemon() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  server_->Shutdown(std::chrono::system_clock::now());
}

void FakeDaemon::set_serving(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus("stet.v1.InferenceService", serving);
}

void FakeDaemon::set_live(bool live) {
  server_->GetHealthCheckService()->SetServingStatus("stet.live", live);
}

std::shared_ptr<grpc::Channel> FakeDaemon::in_process_channel() {
  return server_->InProcessChannel({});
}

void FakeDaemon::note(grpc::ServerContext* context) {
  const auto& metadata = context->client_metadata();
  const auto found = metadata.find("x-request-id");
  std::lock_guard lock(mutex_);
  last_request_id_ =
      found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
}

std::string FakeDaemon::last_request_id() {
  std::lock_guard lock(mutex_);
  return last_request_id_;
}

grpc::Status FakeDaemon::hold(grpc::ServerContext* context,
                              grpc::ServerWriter<v1::GenerateResponse>* writer) {
  v1::GenerateResponse event;
  event.mutable_started()->set_model("fake/model");
  writer->Write(event);
  event.mutable_delta()->set_text(std::string(1000, 'x'));
  for (int i = 0; i < held_events_ && writer->Write(event); ++i) {
    ++num_written_;
  }
  // IsCancelled has no event in the synchronous API; a short wait per look is all it offers.
  std::unique_lock lock(mutex_);
  while (!stopping_ && !context->IsCancelled()) {
    changed_.wait_for(lock, std::chrono::milliseconds(1));
  }
  cancelled_ = context->IsCancelled();
  changed_.notify_all();
  return grpc::Status::CANCELLED;
}

bool FakeDaemon::wait_cancelled() {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(20), [this] { return cancelled_; });
}

grpc::Status FakeDaemon::Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                                  grpc::ServerWriter<v1::GenerateResponse>* writer) {
  note(context);
  const Script script = run_script(*request);
  for (const auto& event : script.events) {
    writer->Write(event);
  }
  return to_grpc(script.status);
}

grpc::Status FakeDaemon::Chat(grpc::ServerContext* context, const v1::ChatRequest* request,
                              grpc::ServerWriter<v1::GenerateResponse>* writer) {
  note(context);
  if (held_events_ >= 0) {
    return hold(context, writer);
  }
  const Script script = run_script(*request);
  for (const auto& event : script.events) {
    writer->Write(event);
  }
  return to_grpc(script.status);
}

grpc::Status FakeDaemon::ListModels(grpc::ServerContext* context, const v1::ListModelsRequest*,
                                    v1::ListModelsResponse* response) {
  context->AddInitialMetadata("x-stet-version", "1.2.3");
  *response->add_models() = scripted_model();
  return grpc::Status::OK;
}

}  // namespace stet::proxy::testing
