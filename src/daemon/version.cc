#include "src/daemon/version.h"

namespace stet::daemon {

std::string version() {
  return STET_VERSION;
}
std::string commit() {
  return STET_COMMIT;
}
std::string version_line() {
  return "stetd " + version() + " (" + commit() + ")";
}

}  // namespace stet::daemon
