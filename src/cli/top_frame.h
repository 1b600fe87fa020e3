// What `stet top` shows of two moments of a daemon.
#pragma once

#include <string>

namespace stet::v1 {
class Stats;
}

namespace stet::cli {

// At most 80 columns; every line ends with a newline. Rates are those between the two.
std::string top_frame(const std::string& address, const v1::Stats& before, const v1::Stats& now);

}  // namespace stet::cli
