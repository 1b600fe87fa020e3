#include "src/proxy/stream_writer.h"

#include <utility>

#include "src/proxy/json_writer.h"

namespace stet::proxy {

StreamWriter::StreamWriter(ApiRoute route, const AnswerShape& shape, std::string request_id,
                           EosTest is_eos)
    : route_(route),
      shape_(shape),
      request_id_(std::move(request_id)),
      is_eos_(std::move(is_eos)) {}

void StreamWriter::write(const v1::GenerateResponse& event, std::string* out) {
  switch (event.event_case()) {
    case v1::GenerateResponse::kStarted: on_started(event.started()); break;
    case v1::GenerateResponse::kDelta: on_delta(event.delta(), out); break;
    case v1::GenerateResponse::kFinished: on_finished(event.finished(), out); break;
    case v1::GenerateResponse::kSummary: usage_ = event.summary().usage(); break;
    default: break;
  }
}

void StreamWriter::on_started(const v1::Started& started) {
  model_ = started.model();
  usage_.set_prompt_tokens(started.prompt_tokens());
  prompt_ids_ = started.prompt_token_ids();
  choices_.resize(shape_.num_choices);
  head_ = is_chat() ? "data: {\"id\":\"chatcmpl-" : "data: {\"id\":\"cmpl-";
  append_json_escaped(&head_, request_id_);
  head_ += is_chat() ? "\",\"object\":\"chat.completion.chunk\",\"created\":"
                     : "\",\"object\":\"text_completion\",\"created\":";
  append_json_int(&head_, started.created_unix_ms() / 1000);
  head_ += ",\"model\":";
  append_json_string(&head_, model_);
  head_ += ",\"system_fingerprint\":";
  append_json_string(&head_, started.fingerprint());
  head_ += ",\"choices\":[";
}

void StreamWriter::open_chunk(uint32_t index, std::string* out) const {
  *out += head_;
  *out += "{\"index\":";
  append_json_uint(out, index);
}

// Ends choices and chunk: `usage` as asked for.
void StreamWriter::close_chunk(std::string* out) {
  *out += "}]";
  if (is_chat() && shape_.token_ids && !chat_prompt_ids_sent_) {
    chat_prompt_ids_sent_ = true;
    *out += ",\"prompt_token_ids\":";
    append_token_ids(out, prompt_ids_);
  }
  if (shape_.continuous_usage) {
    *out += ",\"usage\":{\"prompt_tokens\":";
    append_json_uint(out, usage_.prompt_tokens());
    *out += ",\"completion_tokens\":";
    append_json_uint(out, usage_.completion_tokens());
    *out += ",\"total_tokens\":";
    append_json_uint(out, uint64_t{usage_.prompt_tokens()} + usage_.completion_tokens());
    *out += '}';
  } else if (shape_.include_usage) {
    *out += ",\"usage\":null";
  }
  *out += "}\n\n";
}

// The chunks that announce the choices: benchmarks take the first for the first token, so they come
// with it.
void StreamWriter::begin_output(std::string* out) {
  if (has_output_) {
    return;
  }
  has_output_ = true;
  if (!is_chat()) {
    return;
  }
  for (uint32_t i = 0; i < shape_.num_choices; ++i) {
    open_chunk(i, out);
    *out +=
        ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":"
        "null";
    close_chunk(out);
  }
}

void StreamWriter::append_choice_ids(uint32_t index, const TokenIdList* ids, std::string* out) {
  if (!shape_.token_ids) {
    return;
  }
  if (!is_chat() && !choices_[index].prompt_ids_sent) {
    choices_[index].prompt_ids_sent = true;
    *out += ",\"prompt_token_ids\":";
    append_token_ids(out, prompt_ids_);
  }
  if (ids != nullptr) {
    *out += ",\"token_ids\":";
    append_token_ids(out, *ids);
  }
}

void StreamWriter::on_delta(const v1::Delta& delta, std::string* out) {
  begin_output(out);
  usage_.set_completion_tokens(usage_.completion_tokens() +
                               static_cast<uint32_t>(delta.token_ids_size()));
  const bool has_logprobs = shape_.logprobs && delta.logprobs_size() > 0;
  const bool has_ids = shape_.token_ids && delta.token_ids_size() > 0;
  if (delta.text().empty() && !has_logprobs && !has_ids) {
    return;  // withheld text: no empty chunks
  }
  open_chunk(delta.index(), out);
  *out += is_chat() ? ",\"delta\":{\"content\":\"" : ",\"text\":\"";
  append_json_escaped(out, delta.text());
  *out += is_chat() ? "\"},\"logprobs\":" : "\",\"logprobs\":";
  if (!has_logprobs) {
    *out += "null";
  } else if (is_chat()) {
    append_chat_logprobs(out, shape_, delta.logprobs());
  } else {
    append_completion_logprobs(out, shape_, delta.logprobs(), &choices_[delta.index()].offset);
  }
  *out += ",\"finish_reason\":null";
  append_choice_ids(delta.index(), &delta.token_ids(), out);
  close_chunk(out);
}

void StreamWriter::on_finished(const v1::Finished& finished, std::string* out) {
  begin_output(out);
  open_chunk(finished.index(), out);
  *out += is_chat() ? ",\"delta\":{},\"logprobs\":null," : ",\"text\":\"\",\"logprobs\":null,";
  append_finish(out, finished, model_, is_eos_);
  append_choice_ids(finished.index(), nullptr, out);
  close_chunk(out);
}

void StreamWriter::write_end(std::string* out) {
  if (shape_.include_usage) {
    *out += head_;
    *out += "],\"usage\":";
    append_usage(out, usage_);
    *out += "}\n\n";
  }
  *out += "data: [DONE]\n\n";
}

void StreamWriter::write_error(const ApiError& error, std::string* out) {
  *out += "data: ";
  *out += error_json(error);
  *out += "\n\n";
}

}  // namespace stet::proxy
