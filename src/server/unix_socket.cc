#include "src/server/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace stet::server {

std::string unix_path(std::string_view address) {
  constexpr std::string_view kScheme = "unix:";
  if (!address.starts_with(kScheme)) {
    return {};
  }
  address.remove_prefix(kScheme.size());
  if (address.starts_with("//")) {
    address.remove_prefix(2);  // unix:///absolute/path
  }
  return std::string(address);
}

bool somebody_listens(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return false;  // gRPC refuses it
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return false;
  }
  const bool connected =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return connected;
}

Status restrict_to_owner(const std::string& path) {
  if (chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0) {
    return unavailable("cannot set the mode of the listening socket to 0600: " +
                       std::string(std::strerror(errno)));
  }
  return {};
}

}  // namespace stet::server
