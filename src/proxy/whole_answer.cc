#include "src/proxy/whole_answer.h"

#include <utility>

#include "src/proxy/json_writer.h"

namespace stet::proxy {

WholeAnswer::WholeAnswer(ApiRoute route, const AnswerShape& shape, std::string request_id,
                         EosTest is_eos)
    : route_(route),
      shape_(shape),
      request_id_(std::move(request_id)),
      is_eos_(std::move(is_eos)) {}

void WholeAnswer::add(v1::GenerateResponse&& event) {
  switch (event.event_case()) {
    case v1::GenerateResponse::kStarted:
      started_ = std::move(*event.mutable_started());
      choices_.resize(shape_.num_choices);
      break;
    case v1::GenerateResponse::kDelta: {
      v1::Delta& delta = *event.mutable_delta();
      v1::Output& output = choices_[delta.index()].output;
      output.mutable_text()->append(delta.text());
      output.mutable_token_ids()->MergeFrom(delta.token_ids());
      output.mutable_logprobs()->MergeFrom(delta.logprobs());
      break;
    }
    case v1::GenerateResponse::kFinished: {
      v1::Finished& finished = *event.mutable_finished();
      Choice& choice = choices_[finished.index()];
      if (finished.has_output()) {
        choice.output = std::move(*finished.mutable_output());
      }
      choice.finished = std::move(finished);
      break;
    }
    case v1::GenerateResponse::kSummary: summary_ = std::move(*event.mutable_summary()); break;
    default: break;
  }
}

void WholeAnswer::append_choice(uint32_t index, std::string* out) const {
  const bool is_chat = route_ == ApiRoute::kChat;
  const Choice& choice = choices_[index];
  *out += index == 0 ? "{\"index\":" : ",{\"index\":";
  append_json_uint(out, index);
  *out += is_chat ? ",\"message\":{\"role\":\"assistant\",\"content\":" : ",\"text\":";
  append_json_string(out, choice.output.text());
  *out += is_chat ? ",\"refusal\":null},\"logprobs\":" : ",\"logprobs\":";
  TextOffset offset;
  if (!shape_.logprobs) {
    *out += "null";
  } else if (is_chat) {
    append_chat_logprobs(out, shape_, choice.output.logprobs());
  } else {
    append_completion_logprobs(out, shape_, choice.output.logprobs(), &offset);
  }
  *out += ',';
  append_finish(out, choice.finished, started_.model(), is_eos_);
  if (shape_.token_ids) {
    if (!is_chat) {
      *out += ",\"prompt_token_ids\":";
      append_token_ids(out, started_.prompt_token_ids());
    }
    *out += ",\"token_ids\":";
    append_token_ids(out, choice.output.token_ids());
  }
  *out += '}';
}

std::string WholeAnswer::json() const {
  const bool is_chat = route_ == ApiRoute::kChat;
  std::string out = is_chat ? "{\"id\":\"chatcmpl-" : "{\"id\":\"cmpl-";
  append_json_escaped(&out, request_id_);
  out += is_chat ? "\",\"object\":\"chat.completion\",\"created\":"
                 : "\",\"object\":\"text_completion\",\"created\":";
  append_json_int(&out, started_.created_unix_ms() / 1000);
  out += ",\"model\":";
  append_json_string(&out, started_.model());
  out += ",\"system_fingerprint\":";
  append_json_string(&out, started_.fingerprint());
  out += ",\"choices\":[";
  for (uint32_t i = 0; i < choices_.size(); ++i) {
    append_choice(i, &out);
  }
  out += "],\"usage\":";
  append_usage(&out, summary_.usage());
  if (is_chat && shape_.token_ids) {
    out += ",\"prompt_token_ids\":";
    append_token_ids(&out, started_.prompt_token_ids());
  }
  out += '}';
  return out;
}

}  // namespace stet::proxy
