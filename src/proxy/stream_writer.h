// Events of one call -> SSE frames of a streamed answer, exactly as api.md sec. 5.4. The parts of a
// chunk that do not change are built once per stream; a token costs one escape and three appends.
#pragma once

#include <string>
#include <vector>

#include "src/proxy/answer_json.h"
#include "src/proxy/api_call.h"
#include "src/proxy/api_error.h"

namespace stet::proxy {

// Owned by the I/O thread. Events must have passed EventOrder.
class StreamWriter {
 public:
  StreamWriter(ApiRoute route, const AnswerShape& shape, std::string request_id, EosTest is_eos);

  void write(const v1::GenerateResponse& event, std::string* out);
  // After Summary and status OK: usage if asked for, then [DONE].
  void write_end(std::string* out);
  static void write_error(const ApiError& error, std::string* out);

  // A Delta or a Finished has come: the status line need not wait any longer.
  bool has_output() const { return has_output_; }

 private:
  struct Choice {
    TextOffset offset;
    bool prompt_ids_sent = false;
  };

  bool is_chat() const { return route_ == ApiRoute::kChat; }
  void on_started(const v1::Started& started);
  void on_delta(const v1::Delta& delta, std::string* out);
  void on_finished(const v1::Finished& finished, std::string* out);
  void begin_output(std::string* out);
  void open_chunk(uint32_t index, std::string* out) const;
  void append_choice_ids(uint32_t index, const TokenIdList* ids, std::string* out);
  void close_chunk(std::string* out);

  const ApiRoute route_;
  const AnswerShape shape_;
  const std::string request_id_;
  const EosTest is_eos_;
  std::string head_;  // data: {"id":...,"choices":[
  std::string model_;
  v1::Usage usage_;  // running; the Summary's at the end
  TokenIdList prompt_ids_;
  std::vector<Choice> choices_;
  bool has_output_ = false;
  bool chat_prompt_ids_sent_ = false;
};

}  // namespace stet::proxy
