#include "src/proxy/http_session.h"

#include <array>
#include <boost/asio/post.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <utility>

#include "src/proxy/http_format.h"

namespace stet::proxy {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr size_t kMaxFieldBytes = 8u << 10;  // one header (operations.md sec. 6)
constexpr size_t kReadBytes = 16u << 10;
constexpr size_t kLingerBytes = 1u << 20;  // thrown away after the last answer, at most
constexpr uint64_t kLingerUs = 1'000'000;
// Beyond `max_buffered_bytes` the client was told to hold back; one that does not is cut off here.
constexpr size_t kHardBufferFactor = 16;

// A request body that grows with what has come (never with what was announced) and is charged to
// the server's budget.
struct ChargedBody {
  struct value_type {
    std::string data;
    uint64_t* charged = nullptr;
    uint64_t limit = 0;

    ~value_type() {
      if (charged != nullptr) {
        *charged -= data.size();
      }
    }
    std::string take() {
      *std::exchange(charged, nullptr) -= data.size();
      return std::move(data);
    }
  };
  static uint64_t size(const value_type& body) { return body.data.size(); }

  class reader {
   public:
    template <bool is_request, class Fields>
    reader(http::header<is_request, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<uint64_t>&, error_code& ec) { ec = {}; }
    template <class Buffers>
    size_t put(const Buffers& buffers, error_code& ec) {
      const size_t num_bytes = beast::buffer_bytes(buffers);
      if (*body_.charged + num_bytes > body_.limit) {
        ec = make_error_code(boost::system::errc::not_enough_memory);
        return 0;
      }
      *body_.charged += num_bytes;
      for (const auto piece : beast::buffers_range_ref(buffers)) {
        body_.data.append(static_cast<const char*>(piece.data()), piece.size());
      }
      ec = {};
      return num_bytes;
    }
    void finish(error_code& ec) { ec = {}; }

   private:
    value_type& body_;
  };
};

// 0: fine; -1: no answer is owed; else the status that says what was wrong.
int status_of(const error_code& ec) {
  if (!ec) {
    return 0;
  }
  if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
    return 431;
  }
  if (ec == http::error::body_limit) {
    return 413;
  }
  if (ec == boost::system::errc::not_enough_memory) {
    return 429;
  }
  // The rest of Beast's parser errors are broken requests; end_of_stream and partial_message: the
  // client left.
  const bool parser_error = ec.category() == make_error_code(http::error::bad_method).category();
  return parser_error && ec != http::error::end_of_stream && ec != http::error::partial_message
             ? 400
             : -1;
}

ApiError error_of_status(int status) {
  switch (status) {
    case 408:
      return transport_error(408, "request_timeout", "malformed",
                             "the request did not arrive in time");
    case 413:
      return transport_error(413, "request_too_large", "too_large",
                             "the body is larger than this server takes");
    case 431:
      return transport_error(431, "headers_too_large", "too_large",
                             "the headers are larger than this server takes");
    case 429: {
      ApiError error = transport_error(429, "server_overloaded", "queue_full",
                                       "too many request bytes in flight");
      error.type = "rate_limit_error";
      error.should_retry = true;
      error.retry_after_s = 1;
      return error;
    }
    default:
      return transport_error(400, "bad_request", "malformed",
                             "this is not a well-formed HTTP/1.1 request");
  }
}

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

struct HttpSession::Parser : http::request_parser<ChargedBody> {};

HttpSession::HttpSession(asio::ip::tcp::socket socket, std::string peer_address,
                         SessionContext* context)
    : socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      write_timer_(socket_.get_executor()),
      buffer_(context->options.max_header_bytes + kReadBytes),
      peer_address_(std::move(peer_address)),
      context_(context) {
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  // Small, so that a reader that does not read is seen after 64 KiB and not after megabytes.
  socket_.set_option(asio::socket_base::send_buffer_size(32 << 10), ignored);
  socket_.non_blocking(true, ignored);
  const auto endpoint = socket_.remote_endpoint(ignored);
  request_.peer = peer_address_ + ':' + std::to_string(endpoint.port());
}

HttpSession::~HttpSession() = default;

void HttpSession::start() {
  await_request();
}

void HttpSession::reject(const HttpResponse& response) {
  request_.request_id = draw_request_id();
  request_start_us_ = context_->clock->now_us();
  phase_ = Phase::kRunning;
  refuse(response);
}

// ---- reading ----

void HttpSession::await_request() {
  phase_ = Phase::kIdle;
  arm(first_request_ ? context_->options.header_timeout_us : context_->options.idle_timeout_us);
  if (buffer_.size() == 0) {
    watch();
  } else if (watching_) {
    error_code ignored;
    socket_.cancel(ignored);  // the next request is here already; on_watched goes on
  } else {
    read_head();
  }
}

// A read is pending in kIdle and kRunning alike: it brings the next request's first bytes, or tells
// that the client is gone.
void HttpSession::watch() {
  if (watching_ || buffer_.size() >= kReadBytes) {
    return;  // that much pipelining is enough
  }
  watching_ = true;
  socket_.async_read_some(buffer_.prepare(kReadBytes - buffer_.size()),
                          [self = shared_from_this()](error_code ec, size_t num_bytes) {
                            self->watching_ = false;
                            self->on_watched(!ec || ec == asio::error::operation_aborted,
                                             num_bytes);
                          });
}

void HttpSession::on_watched(bool ok, size_t num_bytes) {
  buffer_.commit(num_bytes);
  if (phase_ == Phase::kClosed || phase_ == Phase::kLinger) {
    return;
  }
  if (!ok) {
    gone();
  } else if (phase_ == Phase::kRunning) {
    if (num_bytes > 0) {
      watch();
    }
  } else if (buffer_.size() > 0) {
    read_head();
  }
}

void HttpSession::read_head() {
  phase_ = Phase::kHead;
  if (!first_request_) {
    arm(context_->options.header_timeout_us);
  }
  first_request_ = false;
  parser_ = std::make_unique<Parser>();
  parser_->header_limit(context_->options.max_header_bytes);
  parser_->body_limit(context_->options.max_body_bytes);
  http::async_read_header(socket_, buffer_, *parser_,
                          [self = shared_from_this()](error_code ec, size_t) {
                            if (self->phase_ == Phase::kHead) {
                              self->on_head(status_of(ec));
                            }
                          });
}

void HttpSession::on_head(int refused_status) {
  request_start_us_ = context_->clock->now_us();
  request_.request_id = draw_request_id();
  request_.path.clear();
  request_.method.clear();
  if (refused_status < 0) {
    gone();
    return;
  }
  if (refused_status == 0) {
    refused_status = take_head() ? check_head() : 400;
  }
  if (refused_status > 0) {
    refuse_status(refused_status);
    return;
  }
  if (auto response = context_->handler->refuse(request_)) {
    if (parser_->is_done()) {
      phase_ = Phase::kRunning;
      send(std::move(*response));
    } else {
      refuse(std::move(*response));  // its body was not read: the connection ends
    }
    return;
  }
  if (parser_->is_done()) {
    run_request();
    return;
  }
  parser_->get().body().charged = &context_->body_bytes;
  parser_->get().body().limit = context_->options.max_total_body_bytes;
  parser_->eager(true);
  if (view(parser_->get()[http::field::expect]) == "100-continue") {
    write("HTTP/1.1 100 Continue\r\n\r\n");
  }
  if (phase_ == Phase::kHead) {
    phase_ = Phase::kBody;
    read_body();
  }
}

// Beast has refused two Content-Length, Content-Length with chunked and broken chunks; this is what
// it lets pass.
int HttpSession::check_head() const {
  const auto& message = parser_->get();
  size_t num_hosts = 0;
  for (const auto& field : message) {
    if (field.name_string().size() + field.value().size() > kMaxFieldBytes) {
      return 431;
    }
    num_hosts += field.name() == http::field::host ? 1 : 0;
  }
  if (num_hosts > 1 || (num_hosts == 0 && message.version() >= 11) ||
      message.count(http::field::content_length) > 1) {
    return 400;
  }
  if (message.count(http::field::transfer_encoding) > 0 &&
      !beast::iequals(message[http::field::transfer_encoding], "chunked")) {
    return 400;
  }
  const auto encoding = message[http::field::content_encoding];
  return encoding.empty() || beast::iequals(encoding, "identity") ? 0 : 400;
}

bool HttpSession::take_head() {
  const auto& message = parser_->get();
  is_http_1_0_ = message.version() < 11;
  keep_alive_ = message.keep_alive();
  request_.method = view(message.method_string());
  request_.content_type = view(message[http::field::content_type]);
  request_.timeout_ms = view(message["x-request-timeout-ms"]);
  request_.traceparent = view(message["traceparent"]);
  const std::string_view request_id = view(message["x-request-id"]);
  const bool valid = request_id.size() <= 128 && !request_id.empty() &&
                     request_id.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-") ==
                         std::string_view::npos;
  request_.bad_request_id = message.count("x-request-id") > 0 && !valid;
  if (valid) {
    request_.request_id = request_id;
  }
  return decode_path(view(message.target()), &request_.path);
}

void HttpSession::read_body() {
  arm(context_->options.body_timeout_us);  // of silence, not of the whole
  http::async_read_some(socket_, buffer_, *parser_,
                        [self = shared_from_this()](error_code ec, size_t) {
                          if (self->phase_ == Phase::kBody) {
                            self->on_body(status_of(ec));
                          }
                        });
}

void HttpSession::on_body(int refused_status) {
  if (refused_status == 431) {
    refused_status = 400;  // chunk extensions or trailers without end
  }
  if (refused_status < 0) {
    gone();
  } else if (refused_status > 0) {
    refuse_status(refused_status);
  } else if (parser_->is_done()) {
    run_request();
  } else {
    read_body();
  }
}

// ---- answering ----

void HttpSession::run_request() {
  phase_ = Phase::kRunning;
  answer_complete_ = false;
  status_ = 0;
  auto& body = parser_->get().body();
  std::string text = body.charged == nullptr ? std::string() : body.take();
  parser_.reset();
  timer_.cancel();
  ++timer_epoch_;
  counted_ = find_route(request_.path)->permission == Permission::kInfer;
  if (counted_) {  // before the call begins: who sees the call sees the count
    context_->num_generations.fetch_add(1, std::memory_order_relaxed);
  }
  auto generation = context_->handler->handle(request_, std::move(text), this);
  if (generation == nullptr) {
    return;  // answered
  }
  generation_ = std::move(generation);
  arm_for_generation();
  watch();
}

void HttpSession::refuse_status(int status) {
  refuse(error_response(error_of_status(status)));
}

// An answer to a request that was not read to its end: nothing after it can be trusted to be a
// request.
void HttpSession::refuse(HttpResponse response) {
  keep_alive_ = false;
  phase_ = Phase::kRunning;
  send(std::move(response));
}

void HttpSession::append_head(int status, const HeaderList& headers, std::string_view content_type,
                              std::string* out) {
  if (context_->handler->draining()) {
    keep_alive_ = false;
  }
  status_ = status;
  *out += "HTTP/1.1 ";
  *out += std::to_string(status);
  *out += ' ';
  *out += status_text(status);
  *out += "\r\n";
  append_header(out, "date", http_date());
  append_header(out, "content-type", content_type);
  append_header(out, "x-request-id", request_.request_id);
  if (const std::string version = context_->handler->version(); !version.empty()) {
    append_header(out, "x-stet-version", version);
  }
  append_header(out, "openai-processing-ms",
                std::to_string((context_->clock->now_us() - request_start_us_) / 1000));
  for (const auto& [name, value] : headers) {
    append_header(out, name, value);
  }
  if (!keep_alive_) {
    append_header(out, "connection", "close");
  } else if (is_http_1_0_) {
    append_header(out, "connection", "keep-alive");
  }
}

void HttpSession::send(HttpResponse response) {
  std::string text;
  append_head(response.status, response.headers, response.content_type, &text);
  append_header(&text, "content-length", std::to_string(response.body.size()));
  text += "\r\n";
  if (request_.method != "HEAD") {
    text += response.body;
  }
  answer_complete_ = true;
  write(text);
}

void HttpSession::begin_stream(const HeaderList& headers) {
  std::string text;
  keep_alive_ = keep_alive_ && !is_http_1_0_;
  append_head(200, headers, "text/event-stream; charset=utf-8", &text);
  append_header(&text, "cache-control", "no-cache");
  append_header(&text, "x-accel-buffering", "no");
  if (!is_http_1_0_) {
    append_header(&text, "transfer-encoding", "chunked");
  }
  text += "\r\n";
  write(text);
}

void HttpSession::stream(std::string_view bytes) {
  if (is_http_1_0_) {
    write(bytes);
    return;
  }
  std::string chunk;
  chunk.reserve(bytes.size() + 16);
  append_chunk(&chunk, bytes);
  write(chunk);
}

void HttpSession::end_stream() {
  answer_complete_ = true;
  write(is_http_1_0_ ? "" : "0\r\n\r\n");
}

// ---- writing ----

void HttpSession::write(std::string_view bytes) {
  if (phase_ == Phase::kClosed || broken_) {
    return;
  }
  if (out_.size() - out_pos_ + bytes.size() >
          context_->options.max_buffered_bytes * kHardBufferFactor &&
      !answer_complete_) {
    give_up();
    return;
  }
  out_ += bytes;
  if (!waiting_writable_) {
    try_write();
  }
}

// Posted: a handler that writes must not find its own state torn down when write() returns.
void HttpSession::give_up() {
  broken_ = true;
  asio::post(socket_.get_executor(), [self = shared_from_this()] { self->gone(); });
}

void HttpSession::try_write() {
  error_code ec;
  while (out_pos_ < out_.size() && !ec) {
    out_pos_ +=
        socket_.write_some(asio::buffer(out_.data() + out_pos_, out_.size() - out_pos_), ec);
  }
  if (ec == asio::error::would_block || ec == asio::error::try_again) {
    wait_writable();
  } else if (ec) {
    give_up();
  } else {
    on_written();
  }
}

void HttpSession::wait_writable() {
  if (out_pos_ > out_.size() / 2) {
    out_.erase(0, out_pos_);
    out_pos_ = 0;
  }
  const uint64_t now_us = context_->clock->now_us();
  last_progress_us_ = now_us;
  waiting_writable_ = true;
  if (generation_ != nullptr) {
    generation_->set_backlog(out_.size() - out_pos_);
  }
  write_timer_.expires_after(std::chrono::microseconds(context_->options.slow_reader_us));
  write_timer_.async_wait([self = shared_from_this()](error_code ec) {
    if (!ec && self->waiting_writable_ &&
        self->context_->clock->now_us() - self->last_progress_us_ >=
            self->context_->options.slow_reader_us) {
      self->gone();  // slow_reader: nobody is there to read an error
    }
  });
  socket_.async_wait(asio::socket_base::wait_write, [self = shared_from_this()](error_code ec) {
    self->waiting_writable_ = false;
    if (self->phase_ == Phase::kClosed) {
      return;
    }
    if (ec == asio::error::operation_aborted) {
      self->wait_writable();  // a cancel meant for a read
    } else {
      self->try_write();
    }
  });
}

void HttpSession::on_written() {
  const bool was_held_back = !out_.empty();
  out_.clear();
  out_pos_ = 0;
  if (out_.capacity() > context_->options.max_buffered_bytes) {
    out_.shrink_to_fit();
  }
  if (generation_ != nullptr && was_held_back) {
    generation_->set_backlog(0);
  }
  if (answer_complete_) {
    response_done(status_);
  }
}

void HttpSession::record(int status) {
  if (request_start_us_ != 0) {
    const double seconds =
        static_cast<double>(context_->clock->now_us() - request_start_us_) * 1e-6;
    context_->metrics->record(request_.path, request_.method, status, seconds);
    request_start_us_ = 0;
  }
  generation_.reset();
  if (std::exchange(counted_, false)) {
    context_->num_generations.fetch_sub(1, std::memory_order_relaxed);
  }
}

void HttpSession::response_done(int status) {
  answer_complete_ = false;
  record(status);
  // Posted: this may run inside handle(), and a row of pipelined requests must not become a row of
  // frames.
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->phase_ != Phase::kRunning) {
      return;
    }
    if (self->keep_alive_) {
      self->await_request();
    } else {
      self->linger();
    }
  });
}

// ---- the end ----

// Closing with unread bytes makes the kernel send a reset, which can overtake the answer.
void HttpSession::linger() {
  phase_ = Phase::kLinger;
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  socket_.cancel(ignored);
  arm(kLingerUs);
  read_away(kLingerBytes);
}

void HttpSession::read_away(size_t budget) {
  auto scratch = std::make_shared<std::array<char, 4096>>();
  socket_.async_read_some(asio::buffer(*scratch),
                          [self = shared_from_this(), scratch, budget](error_code ec, size_t n) {
                            if (self->phase_ != Phase::kLinger) {
                              return;
                            }
                            if (ec || n >= budget) {
                              self->close();
                            } else {
                              self->read_away(budget - n);
                            }
                          });
}

void HttpSession::gone() {
  if (phase_ == Phase::kClosed) {
    return;
  }
  if (generation_ != nullptr) {
    generation_->abandon();
    record(499);
  }
  close();
}

void HttpSession::close() {
  if (phase_ == Phase::kClosed) {
    return;
  }
  phase_ = Phase::kClosed;
  if (generation_ != nullptr) {
    generation_->abandon();
    record(status_ == 0 ? 503 : status_);
  }
  parser_.reset();
  timer_.cancel();
  write_timer_.cancel();
  error_code ignored;
  socket_.close(ignored);
  asio::post(socket_.get_executor(),
             [self = shared_from_this()] { self->context_->on_closed(self.get()); });
}

void HttpSession::arm(uint64_t duration_us) {
  const uint64_t epoch = ++timer_epoch_;
  timer_.expires_after(std::chrono::microseconds(duration_us));
  timer_.async_wait([self = shared_from_this(), epoch](error_code ec) {
    if (!ec && epoch == self->timer_epoch_) {
      self->on_timer();
    }
  });
}

void HttpSession::arm_for_generation() {
  if (generation_ == nullptr) {
    return;
  }
  const uint64_t wake_at_us = generation_->wake_at_us();
  if (wake_at_us != UINT64_MAX) {
    const uint64_t now_us = context_->clock->now_us();
    arm(wake_at_us > now_us ? wake_at_us - now_us : 1);
  }
}

void HttpSession::on_timer() {
  switch (phase_) {
    case Phase::kIdle:
    case Phase::kLinger: close(); break;
    case Phase::kHead:
    case Phase::kBody: {
      error_code ignored;
      if (phase_ == Phase::kHead) {
        request_.request_id = draw_request_id();
        request_start_us_ = context_->clock->now_us();
        request_.method.clear();
        request_.path.clear();
      }
      phase_ = Phase::kRunning;  // the pending read ends without effect
      socket_.cancel(ignored);
      refuse_status(408);
      break;
    }
    case Phase::kRunning:
      if (const auto generation = generation_) {
        generation->on_wake(context_->clock->now_us());
        arm_for_generation();
      }
      break;
    case Phase::kClosed: break;
  }
}

}  // namespace stet::proxy
