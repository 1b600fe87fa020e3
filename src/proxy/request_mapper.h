// Request body -> ApiCall, by the table of fields.
#pragma once

#include <cstdint>
#include <string_view>

#include "src/proxy/api_call.h"
#include "src/proxy/fields.h"

namespace stet::proxy {

struct MapOptions {
  uint32_t max_json_depth = 32;
  uint32_t max_messages = 1024;
  bool warn_unknown_fields = false;
};

MaybeError map_request(ApiRoute route, std::string_view body, const MapOptions& options,
                       ApiCall* call);
// A body that has been parsed as a part of something else; the limits of JSON were that one's.
MaybeError map_request(ApiRoute route, const JsonValue& body, const MapOptions& options,
                       ApiCall* call);

}  // namespace stet::proxy
