// Names of this build that configuration may choose from.
#pragma once

#include <string>
#include <vector>

namespace stet::daemon {

std::vector<std::string> kernel_table_names();  // best first
std::vector<std::string> policy_names();
std::vector<std::string> kv_mode_names();
std::vector<std::string> eviction_names();

}  // namespace stet::daemon
