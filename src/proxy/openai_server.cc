#include "stet/proxy/openai_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "src/proxy/event_mailbox.h"
#include "src/proxy/handler.h"
#include "src/proxy/http_metrics.h"
#include "src/proxy/http_session.h"
#include "stet/obs/log.h"

namespace stet::proxy {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kAcceptPause = std::chrono::milliseconds(100);
// Connections that are being told that they are too many. Above it they are closed without a word.
constexpr size_t kMaxRejected = 64;

HttpResponse overloaded(std::string message) {
  ApiError error = transport_error(429, "server_overloaded", "connections", std::move(message));
  error.type = "rate_limit_error";
  error.should_retry = true;
  error.retry_after_s = 1;
  return error_response(error);
}

// Descriptors have run out. The reserve makes room for one connection, which hears why.
class ReserveDescriptor {
 public:
  ReserveDescriptor() { open(); }
  ~ReserveDescriptor() { close(); }
  ReserveDescriptor(const ReserveDescriptor&) = delete;
  ReserveDescriptor& operator=(const ReserveDescriptor&) = delete;

  void turn_away_one(int listener) {
    close();
    const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection >= 0) {
      const std::string body = error_json(not_serving("degraded"));
      const std::string answer =
          "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
          "x-should-retry: true\r\nconnection: close\r\ncontent-length: " +
          std::to_string(body.size()) + "\r\n\r\n" + body;
      [[maybe_unused]] const ssize_t sent =
          ::send(connection, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::shutdown(connection, SHUT_WR);
      ::close(connection);
    }
    open();
  }

 private:
  void open() { fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
  void close() {
    if (fd_ >= 0) {
      ::close(fd_);
      fd_ = -1;
    }
  }
  int fd_ = -1;
};

class Server final : public OpenAiServer {
 public:
  Server(const HttpOptions& options, InferenceClient* client, obs::Metrics* metrics)
      : acceptor_(io_),
        pause_timer_(io_),
        work_(asio::make_work_guard(io_)),
        mailbox_(std::make_shared<EventMailbox>(
            [this] { asio::post(io_, [this] { mailbox_->drain(); }); })),
        http_metrics_(metrics),
        handler_(options, &clock_, client, metrics, mailbox_) {
    context_.options = options;
    context_.clock = &clock_;
    context_.handler = &handler_;
    context_.metrics = &http_metrics_;
    context_.on_closed = [this](HttpSession* session) { forget(session); };
  }
  // What can throw below is the allocation of one handler; there is no stopping without it.
  ~Server() override { stop(); }  // NOLINT(bugprone-exception-escape)

  Status bind();
  void start() override;
  uint16_t port() const override { return port_; }
  void begin_drain() override { handler_.set_draining(); }
  void stop() override;
  size_t num_open_streams() const override {
    return context_.num_generations.load(std::memory_order_relaxed);
  }

 private:
  void accept();
  void on_accept(error_code ec, tcp::socket socket);
  void admit(tcp::socket socket);
  void forget(HttpSession* session);

  asio::io_context io_{1};
  SteadyClock clock_;
  tcp::acceptor acceptor_;
  asio::steady_timer pause_timer_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::shared_ptr<EventMailbox> mailbox_;
  HttpMetrics http_metrics_;
  Handler handler_;
  SessionContext context_;
  ReserveDescriptor reserve_;
  std::set<std::shared_ptr<HttpSession>> sessions_;
  std::map<std::string, size_t> num_by_peer_;
  std::set<HttpSession*> rejected_;  // of sessions_: these do not count against the caps
  std::thread thread_;
  uint16_t port_ = 0;
  bool stopped_ = false;
};

Status Server::bind() {
  const HttpOptions& options = context_.options;
  const std::string where = options.host + ":" + std::to_string(options.port);
  error_code ec;
  const auto address =
      asio::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, ec);
  if (ec) {
    return invalid_argument("HTTP listener '" + where + "': expected an IP address or localhost");
  }
  const tcp::endpoint endpoint(address, options.port);
  acceptor_.open(endpoint.protocol(), ec);
  if (!ec) {
    acceptor_.set_option(tcp::acceptor::reuse_address(true), ec);
  }
  if (!ec) {
    acceptor_.bind(endpoint, ec);
  }
  if (!ec) {
    acceptor_.listen(asio::socket_base::max_listen_connections, ec);
  }
  if (!ec) {
    acceptor_.non_blocking(true, ec);
  }
  if (!ec) {
    port_ = acceptor_.local_endpoint(ec).port();
  }
  return ec ? unavailable("HTTP listener '" + where + "': " + ec.message()) : Status();
}

void Server::start() {
  asio::post(io_, [this] { accept(); });
  // An exception that reaches the loop ends the process: half an event loop serves nobody.
  // NOLINTNEXTLINE(bugprone-exception-escape)
  thread_ = std::thread([this]() noexcept { io_.run(); });
}

void Server::accept() {
  acceptor_.async_accept(
      [this](error_code ec, tcp::socket socket) { on_accept(ec, std::move(socket)); });
}

void Server::on_accept(error_code ec, tcp::socket socket) {
  if (ec == asio::error::operation_aborted || !acceptor_.is_open()) {
    return;
  }
  const bool out_of_something = ec == asio::error::no_descriptors ||
                                ec == boost::system::errc::too_many_files_open_in_system ||
                                ec == asio::error::no_buffer_space || ec == asio::error::no_memory;
  if (!out_of_something) {
    if (!ec) {
      admit(std::move(socket));
    }
    accept();
    return;
  }
  http_metrics_.connection_refused();
  obs::log_warn("proxy", "accept_failed", {{"reason", ec.message()}});
  reserve_.turn_away_one(acceptor_.native_handle());
  pause_timer_.expires_after(kAcceptPause);
  pause_timer_.async_wait([this](error_code cancelled) {
    if (!cancelled) {
      accept();
    }
  });
}

void Server::admit(tcp::socket socket) {
  error_code ec;
  const auto endpoint = socket.remote_endpoint(ec);
  if (ec) {
    return;  // gone already
  }
  std::string peer = endpoint.address().to_string();
  const HttpOptions& options = context_.options;
  const size_t num_counted = sessions_.size() - rejected_.size();
  const bool total_full = num_counted >= options.max_connections;
  size_t& num_of_peer = num_by_peer_[peer];
  const bool peer_full = num_of_peer >= options.max_connections_per_peer;
  if (num_of_peer == 0 && total_full) {
    num_by_peer_.erase(peer);
  }
  if (total_full || peer_full) {
    http_metrics_.connection_refused();
    if (rejected_.size() >= kMaxRejected) {
      return;  // closes
    }
    auto session = std::make_shared<HttpSession>(std::move(socket), std::move(peer), &context_);
    sessions_.insert(session);
    rejected_.insert(session.get());
    session->reject(
        overloaded(total_full ? "too many connections" : "too many connections from this address"));
    return;
  }
  ++num_of_peer;
  http_metrics_.connection_opened();
  auto session = std::make_shared<HttpSession>(std::move(socket), std::move(peer), &context_);
  sessions_.insert(session);
  session->start();
}

void Server::forget(HttpSession* session) {
  if (rejected_.erase(session) == 0) {
    http_metrics_.connection_closed();
    const auto peer = num_by_peer_.find(session->peer_address());
    if (peer != num_by_peer_.end() && --peer->second == 0) {
      num_by_peer_.erase(peer);
    }
  }
  sessions_.erase(session->shared_from_this());
}

void Server::stop() {
  if (std::exchange(stopped_, true)) {
    return;
  }
  mailbox_->close();
  const auto close_all = [this] {
    error_code ignored;
    acceptor_.close(ignored);
    pause_timer_.cancel();
    const auto sessions = sessions_;
    for (const auto& session : sessions) {
      session->close();
    }
    work_.reset();
  };
  asio::post(io_, close_all);
  if (thread_.joinable()) {
    thread_.join();
  } else {
    io_.run();  // never started: nothing but close_all is there
  }
}

}  // namespace

Result<std::unique_ptr<OpenAiServer>> OpenAiServer::create(const HttpOptions& options,
                                                           InferenceClient* client,
                                                           obs::Metrics* metrics) {
  auto server = std::make_unique<Server>(options, client, metrics);
  STET_RETURN_IF_ERROR(server->bind());
  return std::unique_ptr<OpenAiServer>(std::move(server));
}

}  // namespace stet::proxy
