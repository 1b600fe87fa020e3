// The route table: every path with its methods and an explicit permission; what is not in it does
// not exist.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace stet::proxy {

// kUnset is no permission at all: a row that forgets the column is refused for everybody.
enum class Permission : uint8_t { kUnset, kNone, kInfer, kModels, kMetrics };

enum class Endpoint : uint8_t {
  kChat,
  kCompletions,
  kModelList,
  kModelGet,
  kReady,
  kLive,
  kStartup,
  kVersion,
  kMetrics,
  kDebugScheduler,
};

struct Route {
  std::string_view path;     // ends with '/': the rest of the path is an argument, not empty
  std::string_view handler;  // label of the HTTP metrics
  std::string_view methods;  // value of Allow: "GET, HEAD"
  Endpoint endpoint = Endpoint::kReady;
  Permission permission = Permission::kUnset;
};

std::span<const Route> route_table();
const Route* find_route(std::string_view path);  // null: 404
bool allows_method(const Route& route, std::string_view method);
// Without keys (auth.mode none) every route with a permission is open.
bool is_permitted(const Route& route);

}  // namespace stet::proxy
