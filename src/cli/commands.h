// The subcommands of `stet`. Each gives the exit code.
#pragma once

#include <string>

#include "src/cli/sampling_flags.h"

namespace stet::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 64;
inline constexpr int kExitInputInvalid = 65;  // a file that was given
inline constexpr int kExitInputMissing = 66;
inline constexpr int kExitUnavailable = 69;
inline constexpr int kExitInternal = 70;  // our fault

struct ChatCommand {
  std::string address;
  SamplingFlags sampling;
  std::string system;
  std::string once;
  bool has_once = false;
};
int run_chat(const ChatCommand& command);

struct CompleteCommand {
  std::string address;
  SamplingFlags sampling;
  std::string prompt;  // "-" = standard input
};
int run_complete(const CompleteCommand& command);

struct HealthCommand {
  std::string address;
  bool live = false;  // else ready
  unsigned timeout_ms = 2000;
};
int run_health(const HealthCommand& command);

struct TopCommand {
  std::string address;
  std::string admin_address;  // "" = the one that belongs to `address`
  unsigned interval_ms = 1000;
  bool once = false;  // one frame, and leave
};
int run_top(const TopCommand& command);
// listen.admin_grpc when that is auto.
std::string admin_address_of(const std::string& address);

struct BatchCommand {
  std::string address;
  std::string in;   // "-" = standard input
  std::string out;  // "" = standard output
  bool quiet = false;
};
int run_batch(const BatchCommand& command);

struct InspectCommand {
  std::string path;
  bool show_template = false;
};
int run_inspect(const InspectCommand& command);

}  // namespace stet::cli
