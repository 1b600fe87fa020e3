// Unix-socket listeners of gRPC: gRPC removes a socket file that is in the way even if somebody
// listens on it, and creates its own with the process's umask. Both are checked here.
#pragma once

#include <string>
#include <string_view>

#include "stet/base/status.h"

namespace stet::server {

std::string unix_path(std::string_view address);  // of "unix:path", else ""
bool somebody_listens(const std::string& path);
Status restrict_to_owner(const std::string& path);  // mode 0600

}  // namespace stet::server
