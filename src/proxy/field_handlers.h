// The handlers that the table of fields names. Each maps one JSON value into the request; null
// never reaches them.
#pragma once

#include "src/proxy/fields.h"

namespace stet::proxy {

// By the row's proto_path and the proto's own type: bool, uint32, float, string, repeated uint32.
MaybeError apply_plain(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_ignored(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_refused(MapState& state, const Field& field, const JsonValue& value);

MaybeError apply_max_tokens(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_max_completion_tokens(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_top_k(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_seed(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_logit_bias(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_stop(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_stream(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_stream_options(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_chat_logprobs(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_top_logprobs(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_completion_logprobs(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_return_token_ids(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_tokens_as_ids(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_priority(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_request_id(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_template_kwargs(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_prompt(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_messages(MapState& state, const Field& field,
                          const JsonValue& value);  // map_messages.cc

// Known fields of which this release serves one value only.
MaybeError apply_only_false(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_only_empty(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_tool_choice(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_response_format(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_modalities(MapState& state, const Field& field, const JsonValue& value);
MaybeError apply_best_of(MapState& state, const Field& field, const JsonValue& value);

// The rule of request ids (api.md sec. 2.1): 1..128 of [A-Za-z0-9._:-].
bool is_request_id(std::string_view text);

}  // namespace stet::proxy
