// proxy::InferenceClient over the service layer of the same process: what the embedded OpenAI
// listener talks to. It applies what a gRPC channel would: message size limit, deadline, cancel on
// drop, the same codes. tests/daemon runs the proxy's conformance suite over it.
#pragma once

#include <functional>
#include <memory>

#include "stet/base/clock.h"
#include "stet/proxy/inference_client.h"
#include "stet/server/service.h"

namespace stet::daemon {

struct LocalClientOptions {
  uint64_t max_message_bytes = 4u << 20;
  std::function<proxy::ReadyState()> ready;  // empty: what the service says
  std::function<bool()> live;                // empty: always
  std::string version;
};

// `service` and `clock` must outlive the client. Thread-safe.
std::unique_ptr<proxy::InferenceClient> make_local_client(server::Service* service,
                                                          const Clock* clock,
                                                          LocalClientOptions options);

}  // namespace stet::daemon
