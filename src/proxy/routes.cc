#include "src/proxy/routes.h"

namespace stet::proxy {
namespace {

constexpr std::string_view kGet = "GET";
constexpr std::string_view kPost = "POST";
constexpr std::string_view kProbe = "GET, HEAD";

constexpr Route kRoutes[] = {
    {"/v1/chat/completions", "/v1/chat/completions", kPost, Endpoint::kChat, Permission::kInfer},
    {"/v1/completions", "/v1/completions", kPost, Endpoint::kCompletions, Permission::kInfer},
    {"/v1/models", "/v1/models", kGet, Endpoint::kModelList, Permission::kModels},
    {"/v1/models/", "/v1/models/{id}", kGet, Endpoint::kModelGet, Permission::kModels},
    {"/health", "/health", kProbe, Endpoint::kReady, Permission::kNone},
    {"/ready", "/ready", kProbe, Endpoint::kReady, Permission::kNone},
    {"/readyz", "/readyz", kProbe, Endpoint::kReady, Permission::kNone},
    {"/live", "/live", kProbe, Endpoint::kLive, Permission::kNone},
    {"/livez", "/livez", kProbe, Endpoint::kLive, Permission::kNone},
    {"/startupz", "/startupz", kProbe, Endpoint::kStartup, Permission::kNone},
    {"/version", "/version", kGet, Endpoint::kVersion, Permission::kModels},
    {"/metrics", "/metrics", kGet, Endpoint::kMetrics, Permission::kMetrics},
    {"/debug/scheduler", "/debug/scheduler", kGet, Endpoint::kDebugScheduler, Permission::kMetrics},
};

}  // namespace

std::span<const Route> route_table() {
  return kRoutes;
}

const Route* find_route(std::string_view path) {
  for (const Route& route : kRoutes) {
    const bool takes_rest = route.path.ends_with('/');
    if (takes_rest ? path.size() > route.path.size() && path.starts_with(route.path)
                   : path == route.path) {
      return &route;
    }
  }
  return nullptr;
}

bool allows_method(const Route& route, std::string_view method) {
  std::string_view rest = route.methods;
  while (!rest.empty()) {
    const size_t comma = rest.find(", ");
    if (rest.substr(0, comma) == method) {
      return true;
    }
    rest = comma == std::string_view::npos ? "" : rest.substr(comma + 2);
  }
  return false;
}

bool is_permitted(const Route& route) {
  return route.permission != Permission::kUnset;
}

}  // namespace stet::proxy
