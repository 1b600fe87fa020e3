// Exit codes of stetd (docs/operations.md): sysexits numbers, so that supervisors and people can
// tell causes apart.
#pragma once

namespace stet::daemon {

enum class ExitCode : int {
  kOk = 0,  // drained, all requests ended
  kUsage = 64,
  kModelInvalid = 65,  // the message names offset and field
  kModelMissing = 66,  // missing or unreadable
  kUnavailable = 69,   // cannot bind, instruction set absent
  kInternal = 70,      // an invariant or the self-test failed
  kDoesNotFit = 71,    // the message holds the memory plan
  kDrainTimeout = 75,  // the rest ended with an error
  kConfigInvalid = 78,
};

}  // namespace stet::daemon
