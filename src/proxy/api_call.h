// A parsed OpenAI request: the proto message for the daemon, and what the answer must look like.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stet/v1/inference.pb.h"

namespace stet::proxy {

enum class ApiRoute : uint8_t { kChat = 1, kCompletions = 2 };  // bits: a field may belong to both

// Only what changes the form of the answer; everything else is in the proto message.
struct AnswerShape {
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool logprobs = false;
  uint32_t num_top_logprobs = 0;
  bool token_ids = false;      // return_token_ids
  bool tokens_as_ids = false;  // return_tokens_as_token_ids
  uint32_t num_choices = 1;
};

// Thread-compatible value.
struct ApiCall {
  ApiRoute route = ApiRoute::kChat;
  v1::ChatRequest chat;          // route kChat
  v1::GenerateRequest generate;  // route kCompletions
  AnswerShape shape;
  std::vector<std::string_view> present;    // names of the table's fields that came with a value
  std::vector<std::string> unknown_fields;  // only with warn_unknown_fields

  const std::string& request_id() const {
    return route == ApiRoute::kChat ? chat.request_id() : generate.request_id();
  }
};

}  // namespace stet::proxy
