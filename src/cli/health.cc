#include <cstdio>

#include "src/cli/answer.h"
#include "src/cli/client.h"
#include "src/cli/commands.h"

namespace stet::cli {

int run_health(const HealthCommand& command) {
  Client client(command.address);
  const Status status = client.check_health(command.live ? "stet.live" : "stet.v1.InferenceService",
                                            command.timeout_ms);
  if (status.ok()) {
    std::puts(command.live ? "live" : "ready");
    return kExitOk;
  }
  report(status);
  return kExitFailed;
}

}  // namespace stet::cli
