// A daemon's behaviour without a model: requests in, events and a status out, the same for the same
// request. Serves the conformance suite directly (ScriptedClient) and behind gRPC (FakeDaemon), so
// that both ways can be compared.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "google/rpc/status.pb.h"
#include "stet/proxy/inference_client.h"
#include "stet/v1/inference.pb.h"
#include "stet/v1/model.pb.h"

namespace stet::proxy::testing {

struct Script {
  std::vector<v1::GenerateResponse> events;
  google::rpc::Status status;
};

Script run_script(const v1::ChatRequest& request);
Script run_script(const v1::GenerateRequest& request);
v1::Model scripted_model();

// Plays scripts inside the call itself.
std::unique_ptr<InferenceClient> make_scripted_client();

}  // namespace stet::proxy::testing
