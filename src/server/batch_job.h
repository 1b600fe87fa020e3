// One GenerateBatch call without its transport. Each of its requests is a call of the Service like
// any other, validated and answered by the same code; what is added here is the address of an event
// (custom_id), two defaults, and when the next request is read.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "google/rpc/status.pb.h"
#include "stet/server/service.h"
#include "stet/v1/inference.pb.h"

namespace stet::server {

inline constexpr size_t kMaxCustomIdBytes = 64;
// Of one job, because its custom_ids are remembered. As many as a batch file of OpenAI may hold.
inline constexpr size_t kMaxJobRequests = 50'000;
// Answers that wait for the reader. Above it no request is read, and those under way merge what
// they have to say and are parked, as for any slow reader.
inline constexpr size_t kMaxJobWaitingBytes = 256u << 10;

// The job calls these under its lock: they must not call back before they return.
class JobTransport {
 public:
  virtual ~JobTransport() = default;
  virtual void read_next() = 0;  // answered by on_request, on_malformed or on_half_close
  virtual void write(const v1::GenerateBatchResponse& response) = 0;  // answered by on_written
  virtual void finish(const google::rpc::Status& status) = 0;         // once, the last of all
};

// Thread-safe. One read and one write are outstanding at most; one request at most is on its way to
// a place in the queue, and reading waits for it: so a job is as long as it likes and never full.
class BatchJob final : public std::enable_shared_from_this<BatchJob> {
 public:
  // Deadline and peer of `context` are those of every request.
  BatchJob(Service* service, const CallContext& context, JobTransport* transport);
  ~BatchJob();

  void start();  // the first read
  void on_request(v1::GenerateBatchRequest&& request);
  void on_malformed();  // bytes that are no message
  void on_half_close();
  void on_written();
  // Cancels what is left; `status` ends the job.
  void abort(const google::rpc::Status& status);
  void detach();  // the transport is gone: after finish

 private:
  class Receiver;
  struct Running {
    std::unique_ptr<Call> call;  // null while it is being started
    bool has_place = false;      // Started came
  };

  void on_event(const std::string& custom_id, const v1::GenerateResponse& event);
  void on_done(const std::string& custom_id, const google::rpc::Status& status);

  // Under mutex_.
  bool take_custom_id(const std::string& custom_id);
  void end_reading(const google::rpc::Status& status);
  void send_error(const std::string& custom_id, const google::rpc::Status& status);
  void send(v1::GenerateBatchResponse&& response);
  void write_next();
  void set_throttled(bool throttled);
  void go_on();  // reads, or finishes, when nothing stands against it

  Service* const service_;
  CallContext context_;

  std::mutex mutex_;
  JobTransport* transport_;
  std::unordered_set<std::string> custom_ids_;  // all that came
  std::unordered_map<std::string, Running> running_;
  std::deque<v1::GenerateBatchResponse> waiting_;
  v1::GenerateBatchResponse current_;  // being written
  size_t waiting_bytes_ = 0;           // of waiting_ and current_
  google::rpc::Status final_;
  bool reading_ = false;
  bool writing_ = false;
  bool taking_place_ = false;  // a request has been read and has no place in the queue yet
  bool throttled_ = false;     // the reader is slow
  bool all_read_ = false;
  bool finished_ = false;
};

}  // namespace stet::server
