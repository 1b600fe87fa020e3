// stet-proxy: the OpenAI HTTP API in front of a stetd that is reached over gRPC.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <exception>
#include <string>

#include "src/proxy/grpc_client.h"
#include "stet/base/clock.h"
#include "stet/obs/log.h"
#include "stet/obs/metrics.h"
#include "stet/proxy/openai_server.h"

namespace {

// Exit codes of docs/operations: sysexits.h where it has one.
constexpr int kExitUsage = 64;
constexpr int kExitCannotBind = 69;
constexpr int kExitInternal = 70;  // our fault
constexpr int kExitDrainTimeout = 75;
constexpr uint64_t kDrainTimeoutUs = 120'000'000;

// "127.0.0.1:8000", "[::1]:8000", "localhost:0".
bool parse_listen(const std::string& text, stet::proxy::HttpOptions* options) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return false;
  }
  std::string host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  options->host = host;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, end, options->port);
  return parsed.ec == std::errc() && parsed.ptr == end;
}

// SIGTERM and SIGINT, taken by sigtimedwait and never by a handler. Blocked before any thread
// starts.
class Signals {
 public:
  Signals() {
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  void wait() const {
    while (sigwaitinfo(&set_, nullptr) < 0) {
    }
  }
  bool wait_for_ms(long ms) const {
    const timespec time{ms / 1000, ms % 1000 * 1'000'000};
    return sigtimedwait(&set_, nullptr, &time) > 0;
  }

 private:
  sigset_t set_{};
};

// Until no answer is being made, a second signal comes or the time is over. True: all answers
// ended.
bool drain(const Signals& signals, stet::proxy::OpenAiServer* server) {
  const stet::SteadyClock clock;
  const uint64_t give_up_us = clock.now_us() + kDrainTimeoutUs;
  server->begin_drain();
  while (server->num_open_streams() > 0) {
    if (signals.wait_for_ms(50) || clock.now_us() >= give_up_us) {
      return false;
    }
  }
  return true;
}

int run(int argc, char** argv) {
  CLI::App app{"OpenAI-compatible HTTP API in front of a stetd reached over gRPC"};
  std::string listen = "127.0.0.1:8000";
  std::string target = "127.0.0.1:50051";
  app.add_option("--listen", listen, "address:port to serve HTTP on; port 0 takes any free one")
      ->capture_default_str();
  app.add_option("--target", target, "gRPC address of stetd: host:port or unix:path")
      ->capture_default_str();
  app.set_version_flag("--version", "stet-proxy " STET_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  stet::proxy::HttpOptions options;
  if (!parse_listen(listen, &options)) {
    std::fprintf(stderr, "stet-proxy: --listen %s: expected address:port\n", listen.c_str());
    return kExitUsage;
  }
  const Signals signals;
  stet::obs::configure_logging({});
  stet::obs::Metrics metrics;
  stet::proxy::GrpcClient client(stet::proxy::make_channel(target));
  auto server = stet::proxy::OpenAiServer::create(options, &client, &metrics);
  if (!server.ok()) {
    std::fprintf(stderr, "stet-proxy: %s\n", server.status().message().c_str());
    return server.status().code() == stet::StatusCode::kInvalidArgument ? kExitUsage
                                                                        : kExitCannotBind;
  }
  (*server)->start();
  stet::obs::log_info("proxy", "listening",
                      {{"address", options.host},
                       {"port", (*server)->port()},
                       {"target", target},
                       {"version", STET_VERSION}});
  signals.wait();
  stet::obs::log_info("proxy", "draining", {{"streams", (*server)->num_open_streams()}});
  const bool drained = drain(signals, server->get());
  (*server)->stop();
  stet::obs::log_info("proxy", "stopped", {{"drained", drained}});
  stet::obs::flush_logs();
  return drained ? 0 : kExitDrainTimeout;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stet-proxy: %s\n", error.what());
    return kExitInternal;
  }
}
