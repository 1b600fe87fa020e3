// OpenAI's batch files, one JSON object per line: from a line of the input to a request of
// GenerateBatch, from its events to a line of the output. Bodies, answers and errors are those of
// POST, by the same tables.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stet/base/status.h"

namespace stet::v1 {
class GenerateBatchRequest;
class GenerateBatchResponse;
class Model;
}  // namespace stet::v1

namespace stet::proxy {

struct BatchAnswer {
  // {"id","custom_id","response":{"status_code","request_id","body"},"error":null}, with its
  // newline
  std::string line;
  int http_status = 200;  // what POST would have answered
};

// One line of the input. `take_request` and `add` may run beside each other; else external
// synchronisation.
class BatchFileRequest {
 public:
  // {"custom_id","method":"POST","url","body"}. INVALID_ARGUMENT: the line is not of that form, so
  // there is nothing an answer could be addressed to.
  static Result<std::unique_ptr<BatchFileRequest>> parse(
      std::string_view line, std::shared_ptr<const std::vector<v1::Model>> models);
  virtual ~BatchFileRequest() = default;

  virtual const std::string& custom_id() const = 0;
  // The body is none that could be sent: `take_answer` says why.
  virtual bool refused() const = 0;
  virtual v1::GenerateBatchRequest take_request() = 0;  // once, unless refused
  // One response to its custom_id. True: the last one.
  virtual bool add(v1::GenerateBatchResponse&& response) = 0;
  virtual BatchAnswer take_answer() = 0;  // once: when refused, or after the last one
};

// Whose answer a line of an output is; INVALID_ARGUMENT when it is no such line.
Result<std::string> answered_custom_id(std::string_view line);

}  // namespace stet::proxy
