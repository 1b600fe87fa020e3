// A whole daemon: listeners, model, engine, health, drain. stetd's main is signals and exit codes
// around it; tests run it in process on port 0.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "stet/daemon/config.h"
#include "stet/daemon/exit_code.h"
#include "stet/proxy/inference_client.h"
#include "stet/server/service.h"

namespace stet::daemon {

struct StartFailure {
  ExitCode code = ExitCode::kInternal;
  std::string message;  // what, where, what to do; may hold the memory plan's table
};

struct DaemonHooks {
  std::function<void(double fraction)> load_progress;  // from the loading threads; may be empty
};

// STARTING -> LOADING -> WARMING -> READY -> DRAINING -> STOPPED (operations.md sec. 4).
// Listeners are bound first and refuse work until READY, probes are answered from then on.
// begin_drain, end_now, state and log_state: thread-safe. start, wait and the destructor: one
// thread.
class Daemon {
 public:
  static std::unique_ptr<Daemon> create(EffectiveConfig config, DaemonHooks hooks);
  virtual ~Daemon() = default;  // ends at once whatever still runs

  virtual std::optional<StartFailure> start() = 0;  // returns when READY
  // Not ready, still accepting for drain.announce; then refusing; accepted work runs to its end or
  // to drain.timeout.
  virtual void begin_drain() = 0;
  virtual void end_now() = 0;   // accepted work ends with drain_timeout now
  virtual ExitCode wait() = 0;  // runs the drain when asked; returns when STOPPED

  // Calls into this daemon without a socket, as the embedded OpenAI listener makes them. After a
  // good start, until stopped.
  virtual proxy::InferenceClient* local_client() = 0;

  virtual server::ServingState state() const = 0;
  virtual bool live() const = 0;
  virtual std::string grpc_address()
      const = 0;  // "127.0.0.1:50051", with the port that was taken; "unix:/path"
  virtual std::string admin_address() const = 0;   // "" = none
  virtual std::string openai_address() const = 0;  // "" = none
  virtual void log_state() const = 0;              // counts, no content
};

}  // namespace stet::daemon
