// What this binary is.
#pragma once

#include <string>

namespace stet::daemon {

std::string version();       // "0.1.0"
std::string commit();        // "1a2b3c4d5e6f", "unknown" outside a checkout
std::string version_line();  // "stetd 0.1.0 (1a2b3c4d5e6f)"

}  // namespace stet::daemon
