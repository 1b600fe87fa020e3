#include "src/proxy/answer_json.h"

#include <algorithm>
#include <vector>

#include "src/proxy/json_writer.h"
#include "stet/v1/model.pb.h"

namespace stet::proxy {
namespace {

// The string a token is shown as, unquoted.
std::string token_text(const AnswerShape& shape, uint32_t id, const std::string& bytes) {
  std::string text;
  if (shape.tokens_as_ids) {
    text = "token_id:" + std::to_string(id);
  } else {
    append_json_escaped(&text, bytes);
  }
  return text;
}

void append_entry(std::string* out, const AnswerShape& shape, uint32_t id, float logprob,
                  const std::string& bytes) {
  *out += "{\"token\":\"";
  *out += token_text(shape, id, bytes);
  *out += "\",\"logprob\":";
  append_json_float(out, logprob);
  *out += ",\"bytes\":[";
  for (size_t i = 0; i < bytes.size(); ++i) {
    *out += i == 0 ? "" : ",";
    append_json_uint(out, static_cast<unsigned char>(bytes[i]));
  }
  *out += ']';
}

int num_shown(const AnswerShape& shape, const v1::TokenLogprob& token) {
  return std::min(token.top_size(),
                  static_cast<int>(std::min<uint32_t>(shape.num_top_logprobs, 1u << 20)));
}

// Alternatives by text, the chosen token among them; of two with one text the likelier stays, names
// being unique.
void append_top_object(std::string* out, const AnswerShape& shape, const v1::TokenLogprob& token) {
  std::vector<std::string> names;
  *out += '{';
  const auto add = [&](uint32_t id, float logprob, const std::string& bytes) {
    std::string name = token_text(shape, id, bytes);
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      return;
    }
    *out += names.empty() ? "\"" : ",\"";
    *out += name;
    *out += "\":";
    append_json_float(out, logprob);
    names.push_back(std::move(name));
  };
  for (int i = 0; i < num_shown(shape, token); ++i) {
    add(token.top(i).token_id(), token.top(i).logprob(), token.top(i).token_bytes());
  }
  if (token.has_logprob()) {
    add(token.token_id(), token.logprob(), token.token_bytes());
  }
  *out += '}';
}

uint64_t num_characters(const std::string& bytes) {
  return static_cast<uint64_t>(std::count_if(bytes.begin(), bytes.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

}  // namespace

bool is_eos(const std::vector<v1::Model>& models, const std::string& model, uint32_t token_id) {
  for (const v1::Model& candidate : models) {
    if (candidate.id() == model) {
      const auto& ids = candidate.eos_token_ids();
      return std::find(ids.begin(), ids.end(), token_id) != ids.end();
    }
  }
  return false;
}

void append_chat_logprobs(std::string* out, const AnswerShape& shape, const LogprobList& logprobs) {
  *out += "{\"content\":[";
  for (int i = 0; i < logprobs.size(); ++i) {
    const v1::TokenLogprob& token = logprobs[i];
    *out += i == 0 ? "" : ",";
    append_entry(out, shape, token.token_id(), token.logprob(), token.token_bytes());
    *out += ",\"top_logprobs\":[";
    for (int k = 0; k < num_shown(shape, token); ++k) {
      *out += k == 0 ? "" : ",";
      append_entry(out, shape, token.top(k).token_id(), token.top(k).logprob(),
                   token.top(k).token_bytes());
      *out += '}';
    }
    *out += "]}";
  }
  *out += "],\"refusal\":null}";
}

void append_completion_logprobs(std::string* out, const AnswerShape& shape,
                                const LogprobList& logprobs, TextOffset* offset) {
  std::string values;
  std::string tops;
  std::string offsets;
  *out += "{\"tokens\":[";
  for (int i = 0; i < logprobs.size(); ++i) {
    const v1::TokenLogprob& token = logprobs[i];
    if (i > 0) {
      *out += ',';
      values += ',';
      tops += ',';
      offsets += ',';
    }
    *out += '"';
    *out += token_text(shape, token.token_id(), token.token_bytes());
    *out += '"';
    if (token.has_logprob()) {
      append_json_float(&values, token.logprob());
      append_top_object(&tops, shape, token);
    } else {  // the first token of a prompt
      values += "null";
      tops += "null";
    }
    append_json_uint(&offsets, offset->characters);
    offset->characters += num_characters(token.token_bytes());
  }
  *out += "],\"token_logprobs\":[" + values + "],\"top_logprobs\":[" + tops +
          "],\"text_offset\":[" + offsets + "]}";
}

void append_token_ids(std::string* out, const TokenIdList& ids) {
  *out += '[';
  for (int i = 0; i < ids.size(); ++i) {
    *out += i == 0 ? "" : ",";
    append_json_uint(out, ids[i]);
  }
  *out += ']';
}

void append_finish(std::string* out, const v1::Finished& finished, const std::string& model,
                   const EosTest& is_eos) {
  *out += "\"finish_reason\":";
  switch (finished.reason()) {
    case v1::FINISH_REASON_LENGTH: *out += "\"length\""; break;
    case v1::FINISH_REASON_TOOL_CALLS: *out += "\"tool_calls\""; break;
    default: *out += "\"stop\"";  // strict clients know these three only
  }
  *out += ",\"stop_reason\":";
  if (finished.matched_case() == v1::Finished::kStopString) {
    append_json_string(out, finished.stop_string());
  } else if (finished.matched_case() == v1::Finished::kStopTokenId &&
             !(is_eos && is_eos(model, finished.stop_token_id()))) {
    append_json_uint(out, finished.stop_token_id());
  } else {
    *out += "null";
  }
}

void append_usage(std::string* out, const v1::Usage& usage) {
  *out += "{\"prompt_tokens\":";
  append_json_uint(out, usage.prompt_tokens());
  *out += ",\"completion_tokens\":";
  append_json_uint(out, usage.completion_tokens());
  *out += ",\"total_tokens\":";
  append_json_uint(out, uint64_t{usage.prompt_tokens()} + usage.completion_tokens());
  *out += ",\"prompt_tokens_details\":{\"cached_tokens\":";
  append_json_uint(out, usage.cached_prompt_tokens());
  *out += "},\"completion_tokens_details\":{\"reasoning_tokens\":0}}";
}

}  // namespace stet::proxy
