// Events of one call -> the JSON of an answer that is not streamed (api.md sec. 5.2).
#pragma once

#include <string>
#include <vector>

#include "src/proxy/answer_json.h"
#include "src/proxy/api_call.h"

namespace stet::proxy {

// Owned by the I/O thread. Events must have passed EventOrder.
class WholeAnswer {
 public:
  WholeAnswer(ApiRoute route, const AnswerShape& shape, std::string request_id, EosTest is_eos);

  void add(v1::GenerateResponse&& event);
  std::string json() const;  // after Summary

 private:
  // Finished.output of FINAL mode; a daemon that sends Deltas all the same is summed up here.
  struct Choice {
    v1::Output output;
    v1::Finished finished;
  };
  void append_choice(uint32_t index, std::string* out) const;

  const ApiRoute route_;
  const AnswerShape shape_;
  const std::string request_id_;
  const EosTest is_eos_;
  v1::Started started_;
  v1::Summary summary_;
  std::vector<Choice> choices_;
};

}  // namespace stet::proxy
