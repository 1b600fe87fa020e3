// stetd: configuration, signals and exit codes around a Daemon.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/daemon/options.h"
#include "src/daemon/progress.h"
#include "src/daemon/signals.h"
#include "src/daemon/version.h"
#include "stet/daemon/config.h"
#include "stet/daemon/daemon.h"
#include "stet/obs/log.h"

namespace {

using stet::daemon::Action;
using stet::daemon::CommandLine;
using stet::daemon::Daemon;
using stet::daemon::ExitCode;

std::vector<std::pair<std::string, std::string>> environment() {
  std::vector<std::pair<std::string, std::string>> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t split = text.find('=');
    if (split != std::string_view::npos) {
      variables.emplace_back(text.substr(0, split), text.substr(split + 1));
    }
  }
  return variables;
}

// Memory holds prompts: no core files, no attaching by other processes of this user.
void keep_memory_private() {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  prctl(PR_SET_DUMPABLE, 0);
}

int report_errors(const CommandLine& line) {
  for (const stet::daemon::ConfigError& error : line.errors) {
    std::fprintf(stderr, "%s\n", error.to_string().c_str());
  }
  return static_cast<int>(line.usage_error() ? ExitCode::kUsage : ExitCode::kConfigInvalid);
}

// First signal: drain. Second: end at once. While the model loads nothing was accepted: the process
// just ends.
class SignalPolicy {
 public:
  explicit SignalPolicy(Daemon* daemon) : daemon_(daemon) {}

  void on_signal(int signo) {
    if (signo == SIGUSR1) {
      daemon_->log_state();
    } else if (signo == SIGHUP) {
      stet::obs::log_warn("daemon", "no_reload",
                          {{"signal", "HUP"}, {"hint", "configuration is read at start; restart"}});
    } else if (daemon_->state() < stet::server::ServingState::kReady) {
      stet::obs::log_info("daemon", "stopped_before_ready", {{"signal", strsignal(signo)}});
      stet::obs::flush_logs();
      _exit(static_cast<int>(ExitCode::kOk));
    } else if (!std::exchange(draining_, true)) {
      daemon_->begin_drain();
    } else {
      daemon_->end_now();
    }
  }

 private:
  Daemon* const daemon_;
  bool draining_ = false;
};

int serve(CommandLine line) {
  stet::obs::configure_logging(stet::daemon::log_options_of(line.config.values));
  stet::daemon::ProgressLine progress("loading weights");
  const std::unique_ptr<Daemon> daemon = Daemon::create(
      std::move(line.config), {.load_progress = [&](double fraction) { progress.show(fraction); }});
  SignalPolicy policy(daemon.get());
  const stet::daemon::SignalThread signals([&](int signo) { policy.on_signal(signo); });
  const auto failure = daemon->start();
  progress.finish();
  if (failure) {
    stet::obs::flush_logs();
    std::fprintf(stderr, "stetd: %s\n", failure->message.c_str());
    return static_cast<int>(failure->code);
  }
  return static_cast<int>(daemon->wait());
}

}  // namespace

int main(int argc, char** argv) {
  keep_memory_private();
  const std::vector<std::string> args(argv + 1, argv + argc);
  CommandLine line = stet::daemon::load_config(args, environment());
  switch (line.action) {
    case Action::kHelp: std::fputs(stet::daemon::help_text().c_str(), stdout); return 0;
    case Action::kHelpConfig:
      std::fputs(stet::daemon::config_reference_markdown().c_str(), stdout);
      return 0;
    case Action::kVersion: std::printf("%s\n", stet::daemon::version_line().c_str()); return 0;
    case Action::kServe:
    case Action::kCheckConfig:
    case Action::kPrintConfig: break;
  }
  if (!line.errors.empty()) {
    return report_errors(line);
  }
  if (line.action == Action::kPrintConfig) {
    std::fputs(stet::daemon::print_config(line.config).c_str(), stdout);
    return 0;
  }
  if (line.action == Action::kCheckConfig) {
    std::fputs("configuration is valid\n", stderr);
    return 0;
  }
  stet::daemon::block_signals();
  const int code = serve(std::move(line));
  stet::obs::flush_logs();
  return code;
}
