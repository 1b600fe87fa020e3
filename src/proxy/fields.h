// The one table of request fields of /v1/chat/completions and /v1/completions (api.md
// sec. 5.1, 5.3). It drives the mapping to proto, the refusal of unknown fields, the way back from
// a proto path to the client's name, and the generated tests.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "src/proxy/api_call.h"
#include "src/proxy/api_error.h"
#include "src/proxy/json_value.h"

namespace stet::proxy {

using MaybeError = std::optional<ApiError>;

// What a value must look like.
enum class FieldKind : uint8_t {
  kBool,
  kInteger,  // range of the proto field (or the handler's own)
  kNumber,   // float32
  kString,
  kIntegers,  // array of token ids
  kStringOrStrings,
  kObject,
  kMessages,
  kPrompt,
  kAny,  // ignored, refused or decided by its value
};

enum class FieldUse : uint8_t {
  kApplied,
  kIgnored,  // accepted without effect (5.3)
  kRefused,  // by name
};

struct MapState;
struct Field;
using Apply = MaybeError (*)(MapState&, const Field&, const JsonValue&);

struct Field {
  std::string_view name;
  uint8_t routes = 0;  // bits of ApiRoute
  FieldKind kind = FieldKind::kAny;
  FieldUse use = FieldUse::kApplied;
  std::string_view proto_path;  // "sampling.top_p"; "" = none
  Apply apply = nullptr;
};

std::span<const Field> field_table();
// Null when the route has no such field. `guided_anything` finds the row "guided_*".
const Field* find_field(ApiRoute route, std::string_view name);
// "sampling.top_p" -> "top_p", "stop.strings[1]" -> "stop[1]"; a field the client sent wins over
// its aliases.
std::string param_of_proto_path(const ApiCall& call, const std::string& path);
std::string request_fields_markdown();  // the whole of docs/request_fields.md (fields_page.cc)

// What the handlers of the table fill. One request's mapping.
struct MapState {
  ApiCall* call = nullptr;
  google::protobuf::Message* root = nullptr;  // call->chat or call->generate
  v1::SamplingParams* sampling = nullptr;
  v1::OutputOptions* output = nullptr;

  // Seen while walking the members, judged after the last one.
  std::optional<uint32_t> max_tokens;
  std::optional<uint32_t> max_completion_tokens;
  std::optional<uint32_t> num_top_logprobs;
  std::optional<int64_t> best_of;
  bool has_stream_options = false;
};

}  // namespace stet::proxy
