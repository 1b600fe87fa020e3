#include "src/proxy/request_mapper.h"

#include <utility>

#include "src/proxy/json_parser.h"
#include "src/proxy/json_read.h"

namespace stet::proxy {
namespace {

// /v1/completions without max_tokens: OpenAI's own default.
constexpr uint32_t kCompletionsMaxTokens = 16;

ApiError error_from_json(JsonError error) {
  const std::string message =
      error.path.empty() ? error.message : "'" + error.path + "': " + error.message;
  return error.kind == JsonErrorKind::kLimit ? invalid_value(std::move(error.path), message)
                                             : invalid_type(std::move(error.path), message);
}

MaybeError map_members(const JsonValue::Object& members, bool warn_unknown, MapState* state) {
  for (const JsonMember& member : members) {
    const Field* field = find_field(state->call->route, member.name);
    if (field == nullptr) {
      if (!warn_unknown) {
        return unknown_parameter(member.name);
      }
      state->call->unknown_fields.push_back(member.name);
      continue;
    }
    if (member.value.is_null()) {
      continue;
    }
    state->call->present.push_back(field->name);
    if (auto error = field->apply(*state, *field, member.value)) {
      // The row of a family ("guided_*") does not know which member came.
      if (error->param == field->name && field->name != member.name) {
        return unsupported_parameter(member.name,
                                     "'" + member.name + "' is not served by this server");
      }
      return error;
    }
  }
  return std::nullopt;
}

// Rules between fields; they need all members.
MaybeError finish_mapping(MapState* state) {
  ApiCall& call = *state->call;
  AnswerShape& shape = call.shape;
  const bool is_chat = call.route == ApiRoute::kChat;
  if (is_chat ? call.chat.messages().empty()
              : call.generate.prompt_case() == v1::GenerateRequest::PROMPT_NOT_SET) {
    return missing_parameter(is_chat ? "messages" : "prompt");
  }
  if (state->has_stream_options && !shape.stream) {
    return invalid_value("stream_options", "'stream_options' needs 'stream': true");
  }
  if (state->num_top_logprobs.value_or(0) > 0 && !shape.logprobs) {
    return invalid_value("top_logprobs", "'top_logprobs' needs 'logprobs': true");
  }
  shape.num_choices = state->sampling->has_n() ? state->sampling->n() : 1;
  if (state->best_of && *state->best_of != shape.num_choices) {
    return unsupported_parameter("best_of", "'best_of' is served only when equal to 'n'");
  }
  if (shape.logprobs) {
    shape.num_top_logprobs = state->num_top_logprobs.value_or(0);
    state->output->set_logprobs(shape.num_top_logprobs);
  }
  const auto max_tokens =
      state->max_completion_tokens ? state->max_completion_tokens : state->max_tokens;
  if (max_tokens || !is_chat) {
    state->sampling->set_max_tokens(max_tokens.value_or(kCompletionsMaxTokens));
  }
  state->output->set_mode(shape.stream ? v1::OUTPUT_MODE_DELTA : v1::OUTPUT_MODE_FINAL);
  return std::nullopt;
}

}  // namespace

MaybeError map_request(ApiRoute route, std::string_view body, const MapOptions& options,
                       ApiCall* call) {
  const JsonItemCap caps[] = {{"messages", options.max_messages}};
  JsonLimits limits;
  limits.max_depth = options.max_json_depth;
  limits.item_caps = caps;
  JsonValue root;
  if (auto error = parse_json(body, limits, &root)) {
    return error_from_json(std::move(*error));
  }
  return map_request(route, root, options, call);
}

MaybeError map_request(ApiRoute route, const JsonValue& body, const MapOptions& options,
                       ApiCall* call) {
  const JsonValue::Object* members = body.as_object();
  if (members == nullptr) {
    return invalid_type("", "the body must be a JSON object, not " + std::string(body.kind_name()));
  }
  call->route = route;
  MapState state;
  state.call = call;
  if (route == ApiRoute::kChat) {
    state.root = &call->chat;
    state.sampling = call->chat.mutable_sampling();
    state.output = call->chat.mutable_output();
  } else {
    state.root = &call->generate;
    state.sampling = call->generate.mutable_sampling();
    state.output = call->generate.mutable_output();
  }
  if (auto error = map_members(*members, options.warn_unknown_fields, &state)) {
    return error;
  }
  return finish_mapping(&state);
}

}  // namespace stet::proxy
