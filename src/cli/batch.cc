#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <unordered_map>
#include <utility>

#include "src/cli/answer.h"
#include "src/cli/batch_files.h"
#include "src/cli/client.h"
#include "src/cli/commands.h"
#include "src/cli/interrupt.h"
#include "stet/v1/inference.pb.h"
#include "stet/v1/model.pb.h"

namespace stet::cli {
namespace {

using std::chrono::steady_clock;

// What the daemon could not do now it may do another time: that is no answer to keep.
bool is_final(int http_status) {
  return http_status != 429 && http_status != 503 && http_status != 504;
}

// Counts, and on a terminal a line that is written over.
class Progress {
 public:
  Progress(size_t num_requests, size_t num_skipped, bool quiet)
      : num_requests_(num_requests),
        num_skipped_(num_skipped),
        quiet_(quiet),
        terminal_(!quiet && isatty(STDERR_FILENO) == 1) {}

  void add(const v1::Usage& usage) {
    completion_tokens_ += usage.completion_tokens();
    prompt_tokens_ += usage.prompt_tokens();
    cached_tokens_ += usage.cached_prompt_tokens();
  }
  void answered(int http_status) {
    ++(http_status == 200 ? num_answered_ : num_refused_);
    show();
  }
  size_t num_refused() const { return num_refused_; }
  size_t num_left() const { return num_requests_ - num_skipped_ - num_answered_ - num_refused_; }

  void show_figures() const {
    if (quiet_) {
      return;
    }
    std::fprintf(stderr,
                 "%s[%zu requests: %zu answered, %zu refused, %zu answered before, %zu left; %llu "
                 "tokens, %.1f tokens/s, prompts of %llu tokens (%llu cached)]\n",
                 terminal_ ? "\r\x1b[K" : "", num_requests_, num_answered_, num_refused_,
                 num_skipped_, num_left(), completion_tokens_, tokens_per_s(), prompt_tokens_,
                 cached_tokens_);
  }

 private:
  double tokens_per_s() const {
    const std::chrono::duration<double> elapsed = steady_clock::now() - start_;
    return static_cast<double>(completion_tokens_) / std::max(elapsed.count(), 1e-6);
  }
  void show() {
    const steady_clock::time_point now = steady_clock::now();
    if (!terminal_ || now < next_show_) {
      return;
    }
    next_show_ = now + std::chrono::milliseconds(100);
    std::fprintf(stderr, "\r\x1b[K%zu/%zu requests, %.1f tokens/s",
                 num_skipped_ + num_answered_ + num_refused_, num_requests_, tokens_per_s());
  }

  const size_t num_requests_, num_skipped_;
  const bool quiet_, terminal_;
  const steady_clock::time_point start_ = steady_clock::now();
  steady_clock::time_point next_show_ = start_;
  size_t num_answered_ = 0, num_refused_ = 0;
  unsigned long long completion_tokens_ = 0, prompt_tokens_ = 0, cached_tokens_ = 0;
};

// Requests that are still to be answered, and where their answers go.
class Job {
 public:
  Job(BatchRequests requests, BatchOutput output, bool quiet)
      : output_(std::move(output)), progress_(requests.size(), count_skipped(requests), quiet) {
    for (auto& request : requests) {
      if (!output_.has(request->custom_id())) {
        to_send_.push_back(std::move(request));
      }
    }
  }

  int run(Client* client) {
    take_refused();
    for (const auto& request : to_send_) {
      open_.emplace(request->custom_id(), request.get());
    }
    const auto next = [this, at = size_t{0}]() mutable -> std::optional<v1::GenerateBatchRequest> {
      if (at == to_send_.size()) {
        return std::nullopt;
      }
      return to_send_[at++]->take_request();
    };
    Status status;
    if (!to_send_.empty() && written_.ok()) {
      status = client->batch(
          next, [&](v1::GenerateBatchResponse&& response) { take(std::move(response), client); });
    }
    progress_.show_figures();
    return exit_code(written_.ok() ? status : written_);
  }

 private:
  size_t count_skipped(const BatchRequests& requests) const {
    size_t skipped = 0;
    for (const auto& request : requests) {
      skipped += output_.has(request->custom_id()) ? 1 : 0;
    }
    return skipped;
  }

  // Bodies that can be seen to be wrong here are answered here.
  void take_refused() {
    std::erase_if(to_send_, [this](const auto& request) {
      if (request->refused()) {
        keep(request->take_answer());
      }
      return request->refused();
    });
  }

  void take(v1::GenerateBatchResponse&& response, Client* client) {
    const auto it = open_.find(response.custom_id());
    if (it == open_.end()) {
      return;  // no request of ours
    }
    if (response.event().has_summary()) {
      progress_.add(response.event().summary().usage());
    }
    if (!it->second->add(std::move(response))) {
      return;
    }
    keep(it->second->take_answer());
    open_.erase(it);
    if (!written_.ok()) {
      client->cancel();
    }
  }

  void keep(const proxy::BatchAnswer& answer) {
    if (!is_final(answer.http_status) || !written_.ok()) {
      return;
    }
    written_ = output_.write(answer.line);
    progress_.answered(answer.http_status);
  }

  int exit_code(const Status& status) const {
    if (!status.ok()) {
      return report(status);
    }
    if (progress_.num_left() > 0) {
      return report({StatusCode::kUnavailable, std::to_string(progress_.num_left()) +
                                                   " requests could not be served now: run it "
                                                   "again with --out to go on"});
    }
    return progress_.num_refused() > 0 ? kExitFailed : kExitOk;
  }

  BatchOutput output_;
  Status written_;  // of the output
  Progress progress_;
  BatchRequests to_send_;
  std::unordered_map<std::string, proxy::BatchFileRequest*> open_;
};

int input_error(const Status& status) {
  std::fprintf(stderr, "stet: %s\n", status.message().c_str());
  return status.code() == StatusCode::kNotFound ? kExitInputMissing : kExitInputInvalid;
}

}  // namespace

int run_batch(const BatchCommand& command) {
  InterruptedClient interrupted(command.address);
  Client& client = interrupted.client();
  auto models = std::make_shared<std::vector<v1::Model>>();
  if (const Status status = client.models(models.get()); !status.ok()) {
    return report(status);
  }
  Result<BatchRequests> requests = read_batch_file(command.in, models);
  if (!requests.ok()) {
    return input_error(requests.status());
  }
  Result<BatchOutput> output = BatchOutput::open(command.out);
  if (!output.ok()) {
    return input_error(output.status());
  }
  return Job(std::move(requests).value(), std::move(output).value(), command.quiet).run(&client);
}

}  // namespace stet::cli
