#include "src/daemon/address.h"

#include <arpa/inet.h>

#include <charconv>

namespace stet::daemon {
namespace {

constexpr size_t kMaxSocketPath = 107;  // sockaddr_un.sun_path

bool is_host(std::string_view host) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_";
  return !host.empty() && host.size() <= 253 &&
         host.find_first_not_of(kAllowed) == std::string_view::npos;
}

bool is_ipv6(const std::string& host) {
  in6_addr parsed{};
  return inet_pton(AF_INET6, host.c_str(), &parsed) == 1;
}

}  // namespace

std::optional<Address> parse_address(std::string_view text) {
  constexpr std::string_view kUnix = "unix:";
  Address address;
  if (text.starts_with(kUnix)) {
    address.is_unix = true;
    address.path = text.substr(kUnix.size());
    const bool good = !address.path.empty() && address.path.size() <= kMaxSocketPath;
    return good ? std::optional(address) : std::nullopt;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view port = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc{} || end != port.data() + port.size()) {
    return std::nullopt;
  }
  std::string_view host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    address.host = host.substr(1, host.size() - 2);
    return is_ipv6(address.host) ? std::optional(address) : std::nullopt;
  }
  address.host = host;
  return is_host(host) ? std::optional(address) : std::nullopt;
}

std::string derived_admin_address(const Address& grpc) {
  if (grpc.is_unix) {
    return "unix:" + grpc.path + ".admin";
  }
  const uint16_t port = grpc.port == 0 || grpc.port == UINT16_MAX ? 0 : grpc.port + 1;
  return "127.0.0.1:" + std::to_string(port);
}

bool is_loopback(const Address& address) {
  if (address.is_unix || address.host == "localhost") {
    return true;
  }
  in_addr v4{};
  if (inet_pton(AF_INET, address.host.c_str(), &v4) == 1) {
    return (ntohl(v4.s_addr) >> 24) == 127;
  }
  in6_addr v6{};
  return inet_pton(AF_INET6, address.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace stet::daemon
