// Listener addresses: host:port, [ipv6]:port or unix:path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace stet::daemon {

struct Address {
  bool is_unix = false;
  std::string path;  // unix
  std::string host;  // tcp, without brackets
  uint16_t port = 0;
};

std::optional<Address> parse_address(std::string_view text);
// What listen.admin_grpc = "auto" means beside this listen.grpc.
std::string derived_admin_address(const Address& grpc);
bool is_loopback(const Address& address);  // a socket file counts as loopback

}  // namespace stet::daemon
