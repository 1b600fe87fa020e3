// One HTTP/1.1 connection: reads requests one at a time with every limit and timeout applied,
// writes answers through a bounded buffer, sees a client go, and keeps pipelined requests in order.
// Beast parses; what is written is plain text.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "src/proxy/handler.h"
#include "src/proxy/http_metrics.h"
#include "src/proxy/http_types.h"

namespace stet::proxy {

class HttpSession;

// What the sessions of one server share. Owned by the I/O thread, but for the atomics.
struct SessionContext {
  HttpOptions options;
  const Clock* clock = nullptr;
  Handler* handler = nullptr;
  HttpMetrics* metrics = nullptr;
  std::function<void(HttpSession*)> on_closed;
  uint64_t body_bytes = 0;  // being received, all connections
  std::atomic<size_t> num_generations{0};
};

// Owned by the I/O thread.
class HttpSession final : public ResponseSink, public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(boost::asio::ip::tcp::socket socket, std::string peer_address,
              SessionContext* context);
  ~HttpSession() override;

  void start();
  // Answers before a request was read (a connection over a cap), then closes.
  void reject(const HttpResponse& response);
  void close();
  const std::string& peer_address() const { return peer_address_; }

  void set_request_id(const std::string& request_id) override { request_.request_id = request_id; }
  void send(HttpResponse response) override;
  void begin_stream(const HeaderList& headers) override;
  void stream(std::string_view bytes) override;
  void end_stream() override;

 private:
  // kIdle: waits for the first byte of a request; kRunning: its answer is being made or written;
  // kLinger: the last answer is out, what the client still sends is thrown away, so that it can
  // read it.
  enum class Phase : uint8_t { kIdle, kHead, kBody, kRunning, kLinger, kClosed };
  struct Parser;

  void await_request();
  void watch();
  void on_watched(bool ok, size_t num_bytes);
  void read_head();
  void on_head(int refused_status);
  void read_body();
  void on_body(int refused_status);
  bool take_head();
  void run_request();
  int check_head() const;
  void refuse(HttpResponse response);
  void refuse_status(int status);
  void append_head(int status, const HeaderList& headers, std::string_view content_type,
                   std::string* out);
  void write(std::string_view bytes);
  void try_write();
  void wait_writable();
  void give_up();
  void on_written();
  void response_done(int status);
  void record(int status);
  void linger();
  void read_away(size_t budget);
  void arm(uint64_t duration_us);
  void arm_for_generation();
  void on_timer();
  void gone();

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;        // of the phase
  boost::asio::steady_timer write_timer_;  // of a reader that does not read
  boost::beast::flat_buffer buffer_;
  std::unique_ptr<Parser> parser_;
  const std::string peer_address_;
  SessionContext* const context_;

  Phase phase_ = Phase::kIdle;
  bool first_request_ = true;
  bool watching_ = false;
  HttpRequest request_;
  uint64_t request_start_us_ = 0;
  bool keep_alive_ = false;
  bool is_http_1_0_ = false;
  std::shared_ptr<Generation> generation_;
  bool counted_ = false;  // in num_generations
  int status_ = 0;        // of the answer begun; 0: none

  std::string out_;  // not yet taken by the kernel, from out_pos_ on
  size_t out_pos_ = 0;
  bool waiting_writable_ = false;
  bool broken_ = false;  // nothing can be written any more; gone() follows
  uint64_t last_progress_us_ = 0;
  bool answer_complete_ = false;
  uint64_t timer_epoch_ = 0;
};

}  // namespace stet::proxy
