// Pieces of JSON that whole answers and chunks share: usage, log-probabilities, finish reasons
// (api.md sec. 5.2).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "src/proxy/api_call.h"

namespace stet::v1 {
class Model;
}

namespace stet::proxy {

// Is the id an end-of-generation token of the model? Then `stop_reason` is null.
using EosTest = std::function<bool(const std::string& model, uint32_t token_id)>;
bool is_eos(const std::vector<v1::Model>& models, const std::string& model, uint32_t token_id);

// Where the next token of a choice begins, in characters: `text_offset` counts on through a stream.
struct TextOffset {
  uint64_t characters = 0;
};

using LogprobList = google::protobuf::RepeatedPtrField<v1::TokenLogprob>;
using TokenIdList = google::protobuf::RepeatedField<uint32_t>;

// {"content":[...],"refusal":null}
void append_chat_logprobs(std::string* out, const AnswerShape& shape, const LogprobList& logprobs);
// {"tokens":[...],"token_logprobs":[...],"top_logprobs":[...],"text_offset":[...]}
void append_completion_logprobs(std::string* out, const AnswerShape& shape,
                                const LogprobList& logprobs, TextOffset* offset);
void append_token_ids(std::string* out, const TokenIdList& ids);  // [1,2]
// "finish_reason":"stop","stop_reason":null
void append_finish(std::string* out, const v1::Finished& finished, const std::string& model,
                   const EosTest& is_eos);
void append_usage(std::string* out, const v1::Usage& usage);

}  // namespace stet::proxy
