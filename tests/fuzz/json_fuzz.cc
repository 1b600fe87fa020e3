// Any bytes as the body of a request: the strict JSON parser agrees with nlohmann's about what is
// JSON (but for its own limits), and the request mapper of both routes gives a call or one error
// that names its code; strings that reach the daemon are UTF-8. The first byte chooses the route
// and whether unknown fields are only warned of.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "src/proxy/api_error.h"
#include "src/proxy/json_parser.h"
#include "src/proxy/request_mapper.h"

namespace {

using stet::proxy::ApiCall;
using stet::proxy::ApiRoute;
using stet::proxy::JsonErrorKind;
using stet::proxy::JsonLimits;
using stet::proxy::JsonValue;

void expect(bool condition, const char* what) {
  if (!condition) {
    std::fprintf(stderr, "%s\n", what);
    std::abort();
  }
}

void judge_parser(std::string_view text) {
  JsonLimits limits;
  limits.max_depth = 8;
  limits.max_values = 1000;
  JsonValue value;
  const auto error = parse_json(text, limits, &value);
  // To nlohmann a NUL is the end of the input.
  const bool is_json = text.find('\0') == std::string_view::npos && nlohmann::json::accept(text);
  if (!error) {
    expect(is_json, "the strict parser took what is no JSON");
  } else {
    expect(!error->message.empty(), "an error says something");
    expect(!is_json || error->kind != JsonErrorKind::kSyntax, "a syntax error in JSON");
  }
}

void judge_mapper(ApiRoute route, bool warn_unknown, std::string_view body) {
  stet::proxy::MapOptions options;
  options.max_messages = 16;
  options.warn_unknown_fields = warn_unknown;
  ApiCall call;
  const auto error = map_request(route, body, options, &call);
  if (!error) {
    expect(call.route == route, "the call is of its route");
    std::string bytes;
    // Fails, with a line on stderr, where a string is no UTF-8.
    expect(route == ApiRoute::kChat ? call.chat.SerializeToString(&bytes)
                                    : call.generate.SerializeToString(&bytes),
           "the message serialises");
    return;
  }
  expect(error->http_status >= 400 && error->http_status < 500, "a client's mistake is a 4xx");
  expect(!error->message.empty() && !error->code.empty(), "an error has code and message");
  expect(nlohmann::json::accept(error_json(*error)), "an error's answer is JSON");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  judge_parser(body);
  judge_mapper((data[0] & 1) != 0 ? ApiRoute::kChat : ApiRoute::kCompletions, (data[0] & 2) != 0,
               body);
  return 0;
}
