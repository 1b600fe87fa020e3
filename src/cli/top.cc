// stet top: the daemon's counts, drawn anew with every message of AdminService.WatchStats.
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "src/cli/answer.h"
#include "src/cli/client.h"
#include "src/cli/commands.h"
#include "src/cli/top_frame.h"
#include "stet/v1/admin.pb.h"

namespace stet::cli {
namespace {

// Home, then clear what is below: drawing over the old frame does not flicker.
constexpr const char* kRedraw = "\x1b[H\x1b[J";
constexpr const char* kClear = "\x1b[2J";

}  // namespace

// The port after that of listen.grpc, or its socket's path with .admin, as `listen.admin_grpc:
// auto`.
std::string admin_address_of(const std::string& address) {
  if (address.starts_with("unix:")) {
    return address + ".admin";
  }
  const size_t colon = address.rfind(':');
  unsigned port = 0;
  if (colon == std::string::npos || std::sscanf(address.c_str() + colon + 1, "%u", &port) != 1) {
    return address;
  }
  return address.substr(0, colon + 1) + std::to_string(port + 1);
}

int run_top(const TopCommand& command) {
  const std::string address =
      command.admin_address.empty() ? admin_address_of(command.address) : command.admin_address;
  Client client(address);
  v1::WatchStatsRequest request;
  request.set_interval_ms(command.interval_ms);
  const bool redraw = isatty(STDOUT_FILENO) == 1 && !command.once;
  if (redraw) {
    std::fputs(kClear, stdout);
  }
  std::optional<v1::Stats> before;
  bool shown = false;
  const Status status = client.watch_stats(request, [&](const v1::Stats& now) {
    if (before) {  // rates need two
      std::fputs(redraw ? kRedraw : shown ? "\n" : "", stdout);
      std::fputs(top_frame(address, *before, now).c_str(), stdout);
      shown = true;
      if (std::fflush(stdout) != 0) {
        return false;  // nobody reads
      }
    }
    before = now;
    return !(shown && command.once);
  });
  if (status.ok() || (status.code() == StatusCode::kCancelled && shown)) {
    return kExitOk;
  }
  if (status.code() == StatusCode::kUnimplemented) {
    std::fprintf(
        stderr,
        "stet: %s does not serve AdminService.WatchStats: it is not stetd's admin listener "
        "(--admin), or stetd is older than this stet\n",
        address.c_str());
    return kExitUnavailable;
  }
  return report(status);
}

}  // namespace stet::cli
