// `stet` run to its end.
#pragma once

#include <string>
#include <vector>

#include "tests/daemon/process.h"

namespace stet::cli::testing {

struct Ended {
  int code = -1;
  std::string out, err;
};

inline Ended run_stet(const std::vector<std::string>& args,
                      const std::string& stdin_path = "/dev/null") {
  daemon::testing::Process process(STET_BINARY, args, {}, stdin_path);
  Ended ended;
  ended.code = process.wait();
  ended.out = process.out();
  ended.err = process.err();
  return ended;
}

}  // namespace stet::cli::testing
