#include "src/server/grpc_services.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "src/server/api_error.h"
#include "src/server/call_errors.h"
#include "src/server/grpc_batch.h"
#include "src/server/grpc_bytes.h"
#include "src/server/grpc_stream.h"
#include "src/server/grpc_watch.h"
#include "src/server/message_checks.h"
#include "src/server/stats_message.h"
#include "stet/v1/admin.grpc.pb.h"
#include "stet/v1/inference.grpc.pb.h"
#include "stet/v1/model.grpc.pb.h"

namespace stet::server {
namespace {

using grpc::ByteBuffer;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using Refusal = std::optional<google::rpc::Status>;
using Core = Service;  // inside the classes below `Service` is gRPC's

// Parses, holds the rules every request message follows, and answers with what `answer(request,
// response)` returns.
template <class Request, class Response, class Answer>
ServerUnaryReactor* unary(const AdminHooks& hooks, CallbackServerContext* context,
                          const ByteBuffer* in, ByteBuffer* out, Answer answer) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  context->AddInitialMetadata("x-stet-version", hooks.version);  // on every answer (api.md 2.2)
  Request request;
  if (!from_bytes(*in, &request)) {
    reactor->Finish(to_grpc(malformed_request().build()));
    return reactor;
  }
  Violations violations;
  check_message(request, &violations);
  if (!violations.empty()) {
    reactor->Finish(to_grpc(ApiError(violations.take()).build()));
    return reactor;
  }
  Response response;
  if (const Refusal refusal = answer(request, &response)) {
    reactor->Finish(to_grpc(*refusal));
    return reactor;
  }
  *out = to_bytes(response);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

using InferenceBase = v1::InferenceService::WithRawCallbackMethod_Generate<
    v1::InferenceService::WithRawCallbackMethod_Chat<
        v1::InferenceService::WithRawCallbackMethod_GenerateBatch<v1::InferenceService::Service>>>;

class InferenceService final : public InferenceBase {
 public:
  InferenceService(Core* service, const AdminHooks* hooks) : service_(service), hooks_(hooks) {}

  grpc::ServerWriteReactor<ByteBuffer>* Generate(CallbackServerContext* context,
                                                 const ByteBuffer* request) override {
    return start_stream<v1::GenerateRequest>(context, *request, hooks_->version, service_);
  }
  grpc::ServerWriteReactor<ByteBuffer>* Chat(CallbackServerContext* context,
                                             const ByteBuffer* request) override {
    return start_stream<v1::ChatRequest>(context, *request, hooks_->version, service_);
  }
  grpc::ServerBidiReactor<ByteBuffer, ByteBuffer>* GenerateBatch(
      CallbackServerContext* context) override {
    return start_batch(context, hooks_->version, service_, num_open_jobs_);
  }

 private:
  Core* const service_;
  const AdminHooks* const hooks_;
  const std::shared_ptr<std::atomic<uint32_t>> num_open_jobs_ =
      std::make_shared<std::atomic<uint32_t>>(0);
};

using ModelBase = v1::ModelService::WithRawCallbackMethod_ListModels<
    v1::ModelService::WithRawCallbackMethod_GetModel<v1::ModelService::Service>>;

class ModelService final : public ModelBase {
 public:
  ModelService(Core* service, const AdminHooks* hooks) : service_(service), hooks_(hooks) {}

  ServerUnaryReactor* ListModels(CallbackServerContext* context, const ByteBuffer* in,
                                 ByteBuffer* out) override {
    return unary<v1::ListModelsRequest, v1::ListModelsResponse>(
        *hooks_, context, in, out, [&](const auto&, v1::ListModelsResponse* response) -> Refusal {
          for (v1::Model& model : service_->models()) {
            *response->add_models() = std::move(model);
          }
          return std::nullopt;
        });
  }

  ServerUnaryReactor* GetModel(CallbackServerContext* context, const ByteBuffer* in,
                               ByteBuffer* out) override {
    return unary<v1::GetModelRequest, v1::Model>(
        *hooks_, context, in, out,
        [&](const v1::GetModelRequest& request, v1::Model* response) -> Refusal {
          std::string known;
          for (v1::Model& model : service_->models()) {
            if (request.model().empty() || request.model() == model.id()) {
              *response = std::move(model);
              return std::nullopt;
            }
            known += (known.empty() ? "" : ", ") + model.id();
          }
          return ApiError(StatusCode::kNotFound, reason::kModel,
                          "model: '" + clipped(request.model(), 80) + "' is not served; there is " +
                              (known.empty() ? "none yet" : known))
              .build();
        });
  }

 private:
  Core* const service_;
  const AdminHooks* const hooks_;
};

v1::ServerState state_of(ServingState state) {
  switch (state) {
    case ServingState::kStarting: return v1::SERVER_STATE_STARTING;
    case ServingState::kLoading: return v1::SERVER_STATE_LOADING;
    case ServingState::kWarming: return v1::SERVER_STATE_WARMING;
    case ServingState::kReady: return v1::SERVER_STATE_READY;
    case ServingState::kDegraded: return v1::SERVER_STATE_DEGRADED;
    case ServingState::kDraining: return v1::SERVER_STATE_DRAINING;
    case ServingState::kStopped: return v1::SERVER_STATE_STOPPED;
  }
  return v1::SERVER_STATE_UNSPECIFIED;
}

constexpr uint32_t kWatchMinMs = 100, kWatchMaxMs = 60'000, kWatchMs = 1000;

Refusal check_watch(const ByteBuffer& in, v1::WatchStatsRequest* request) {
  if (!from_bytes(in, request)) {
    return malformed_request().build();
  }
  Violations violations;
  check_message(*request, &violations);
  const uint32_t interval = request->interval_ms();
  if (interval != 0 && (interval < kWatchMinMs || interval > kWatchMaxMs)) {
    violations.add(reason::kOutOfRange, "interval_ms",
                   std::to_string(interval) + ": must be in 100..60000, or 0 for 1000");
  }
  return violations.empty() ? Refusal() : ApiError(violations.take()).build();
}

using AdminBase = v1::AdminService::WithRawCallbackMethod_GetServerInfo<
    v1::AdminService::WithRawCallbackMethod_GetStats<
        v1::AdminService::WithRawCallbackMethod_WatchStats<
            v1::AdminService::WithRawCallbackMethod_Drain<v1::AdminService::Service>>>>;

class AdminService final : public AdminBase {
 public:
  AdminService(Core* service, const AdminHooks* hooks) : service_(service), hooks_(hooks) {}

  ServerUnaryReactor* GetServerInfo(CallbackServerContext* context, const ByteBuffer* in,
                                    ByteBuffer* out) override {
    return unary<v1::GetServerInfoRequest, v1::ServerInfo>(
        *hooks_, context, in, out, [&](const auto&, v1::ServerInfo* info) -> Refusal {
          info->set_version(hooks_->version);
          info->set_commit(hooks_->commit);
          info->set_state(state_of(service_->state()));
          info->set_backend(hooks_->backend);
          info->set_device(hooks_->device);
          info->set_start_unix_ms(hooks_->start_unix_ms);
          if (hooks_->config_json) {
            info->set_config_json(hooks_->config_json());
          }
          return std::nullopt;
        });
  }

  ServerUnaryReactor* GetStats(CallbackServerContext* context, const ByteBuffer* in,
                               ByteBuffer* out) override {
    return unary<v1::GetStatsRequest, v1::Stats>(*hooks_, context, in, out,
                                                 [&](const auto&, v1::Stats* stats) -> Refusal {
                                                   *stats = stats_message(*service_);
                                                   return std::nullopt;
                                                 });
  }

  grpc::ServerWriteReactor<ByteBuffer>* WatchStats(CallbackServerContext* context,
                                                   const ByteBuffer* in) override {
    context->AddInitialMetadata("x-stet-version", hooks_->version);
    v1::WatchStatsRequest request;
    if (const Refusal refusal = check_watch(*in, &request)) {
      return refuse_watch(to_grpc(*refusal));
    }
    const uint32_t interval = request.interval_ms() == 0 ? kWatchMs : request.interval_ms();
    return start_watch([service = service_] { return to_bytes(stats_message(*service)); },
                       std::chrono::milliseconds(interval));
  }

  ServerUnaryReactor* Drain(CallbackServerContext* context, const ByteBuffer* in,
                            ByteBuffer* out) override {
    return unary<v1::DrainRequest, v1::DrainResponse>(
        *hooks_, context, in, out,
        [&](const v1::DrainRequest& request, v1::DrainResponse* response) -> Refusal {
          response->set_in_flight(static_cast<uint32_t>(service_->num_calls()));
          if (hooks_->drain) {
            hooks_->drain(request.deadline_ms(), request.exit_when_done());
          }
          return std::nullopt;
        });
  }

 private:
  Core* const service_;
  const AdminHooks* const hooks_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_inference_service(Service* service, const AdminHooks* hooks) {
  return std::make_unique<InferenceService>(service, hooks);
}
std::unique_ptr<grpc::Service> make_model_service(Service* service, const AdminHooks* hooks) {
  return std::make_unique<ModelService>(service, hooks);
}
std::unique_ptr<grpc::Service> make_admin_service(Service* service, const AdminHooks* hooks) {
  return std::make_unique<AdminService>(service, hooks);
}

}  // namespace stet::server
