// stetd as a process: exit codes, signals, what it prints where. (The drain of many streams and the
// drop of clients are in tests/e2e.)
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>

#include "stet/daemon/exit_code.h"
#include "tests/daemon/testing.h"
#include "tests/proxy/http_client.h"

namespace stet::daemon {
namespace {

using proxy::testing::HttpConnection;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::Process;
using ::testing::StartsWith;
using testing::TempDir;

// A socket that listens on a port nobody else has.
class TakenPort {
 public:
  TakenPort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~TakenPort() { close(fd_); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  const int fd_;
  uint16_t port_ = 0;
};

class Stetd : public ::testing::Test {
 protected:
  std::vector<std::string> args(std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"--model",  model_,        "--grpc",    "127.0.0.1:0",
                                    "--openai", "127.0.0.1:0", "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  // Ends by itself: exit code; stderr in `err`.
  int exit_code_of(const std::vector<std::string>& all_args, std::string* err,
                   const testing::Variables& environment = {}) const {
    Process process(testing::stetd_binary(), all_args, environment);
    const int code = process.wait();
    *err = process.err();
    return code;
  }
  static uint16_t http_port(Process* process) {
    std::string line;
    EXPECT_TRUE(process->wait_for_line("\"daemon.ready\"", &line));
    const std::string address = nlohmann::json::parse(line)["openai"];
    return static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  }

  const TempDir dir_;
  const std::string model_ = dir_.write_model("tiny.gguf", {});
};

int number(ExitCode code) {
  return static_cast<int>(code);
}

TEST_F(Stetd, SaysWhyItDoesNotStartByExitCodeAndOneLine) {
  const TakenPort taken;
  const std::string broken = dir_.write("broken.gguf", "GGUF and then nothing of use");
  const struct {
    std::vector<std::string> args;
    ExitCode code;
    std::string says;
  } cases[] = {
      {args({"--no-such-flag"}), ExitCode::kUsage, "unknown flag '--no-such-flag'"},
      {{"--model", broken, "--grpc", "127.0.0.1:0", "--openai", ""},
       ExitCode::kModelInvalid,
       broken},
      {{"--model", dir_.file("none.gguf"), "--grpc", "127.0.0.1:0", "--openai", ""},
       ExitCode::kModelMissing,
       "none.gguf: "},
      {args({"--grpc", taken.address()}), ExitCode::kUnavailable, taken.address()},
      {args({"--openai", taken.address()}), ExitCode::kUnavailable, "Address already in use"},
      {args({"--set", "listen.admin_grpc=" + taken.address()}), ExitCode::kUnavailable,
       taken.address()},
      {args({"--kv-tokens", "4294967296"}), ExitCode::kDoesNotFit, "the largest KV pool that fits"},
      {args({"--set", "kv.block_tokens=96"}), ExitCode::kConfigInvalid, "error[CFG006]"},
      {{}, ExitCode::kConfigInvalid, "stetd --model FILE"},
  };
  for (const auto& test : cases) {
    std::string err;
    EXPECT_EQ(exit_code_of(test.args, &err), number(test.code)) << err;
    EXPECT_THAT(err, HasSubstr(test.says));
    EXPECT_THAT(err, Not(HasSubstr("\"daemon.ready\"")));
  }
}

TEST_F(Stetd, ReportsEveryErrorOfTheConfigurationWithItsPosition) {
  const std::string file = dir_.write("c.txtpb", "kv { block_tokens: 96 }\nlog { level: LOUD }\n");
  std::string err;
  EXPECT_EQ(exit_code_of({"--config", file, "--check-config"}, &err, {{"STET_KV_TOKENS", "1"}}),
            number(ExitCode::kConfigInvalid));
  EXPECT_THAT(err, HasSubstr(file + ":1:20: error[CFG006]: kv.block_tokens = 96: "));
  EXPECT_THAT(err, HasSubstr(file + ":2:14: error[CFG007]: log.level = LOUD: "));
  EXPECT_THAT(err, HasSubstr("STET_KV_TOKENS: error[CFG003]: "));
  EXPECT_THAT(err, HasSubstr("error[CFG009]: models[0].path: not set"));
  EXPECT_EQ(exit_code_of(args({"--check-config"}), &err), 0);
  EXPECT_EQ(err, "configuration is valid\n");
}

TEST_F(Stetd, PrintsWhatItIsAskedForOnStdoutAndStops) {
  for (const auto& [flag, says] :
       std::initializer_list<std::pair<const char*, const char*>>{{"--help", "usage: stetd"},
                                                                  {"-h", "usage: stetd"},
                                                                  {"--version", "stetd 0.1.0 ("},
                                                                  {"--help-config", "# Config"}}) {
    Process process(testing::stetd_binary(), {flag});
    EXPECT_EQ(process.wait(), 0) << flag;
    EXPECT_THAT(process.out(), StartsWith(flag == std::string("--help") ? "stetd: " : ""));
    EXPECT_THAT(process.out(), HasSubstr(says));
    EXPECT_THAT(process.err(), IsEmpty());
  }
}

TEST_F(Stetd, ThePrintedConfigurationStartsTheSameDaemon) {
  Process first(testing::stetd_binary(), args({"--kv-tokens", "1024", "--print-config"}),
                {{"STET_LOG__LEVEL", "WARN"}});
  ASSERT_EQ(first.wait(), 0) << first.err();
  EXPECT_THAT(first.out(), HasSubstr("  level: WARN  # env STET_LOG__LEVEL\n"));
  EXPECT_THAT(first.out(), HasSubstr("  tokens: 1024  # flag --kv-tokens\n"));
  const std::string file = dir_.write("printed.txtpb", first.out());
  Process second(testing::stetd_binary(), {"--config", file, "--print-config"});
  ASSERT_EQ(second.wait(), 0) << second.err();
  const auto without_comments = [](const std::string& text) {
    std::string out;
    std::stringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      out += line.substr(0, line.find("  # ")) + "\n";
    }
    return out;
  };
  EXPECT_EQ(without_comments(second.out()), without_comments(first.out()));
}

TEST_F(Stetd, SignalsShowTheStateDeclineAReloadAndDrain) {
  Process process(testing::stetd_binary(), args());
  ASSERT_NE(http_port(&process), 0);
  std::string line;
  process.signal(SIGUSR1);
  ASSERT_TRUE(process.wait_for_line("\"daemon.state\"", &line));
  const auto state = nlohmann::json::parse(line);
  EXPECT_EQ(state["state"], "ready");
  EXPECT_EQ(state["live"], true);
  EXPECT_EQ(state["calls"], 0);
  process.signal(SIGHUP);
  EXPECT_TRUE(process.wait_for_line("\"daemon.no_reload\""));
  process.signal(SIGPIPE);  // ignored
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 0);
  EXPECT_THAT(process.err(), HasSubstr("\"event\":\"daemon.draining\""));
  EXPECT_THAT(process.err(), HasSubstr("\"event\":\"daemon.stopped\",\"exit\":0}\n"));
}

TEST_F(Stetd, ADrainWithoutTimeForItsStreamExits75AndTellsTheClient) {
  Process process(testing::stetd_binary(),
                  args({"--isa", "scalar", "--set", "drain.timeout_ms=0"}));
  HttpConnection connection(http_port(&process));
  ASSERT_TRUE(connection.send(proxy::testing::post_text(
      "/v1/completions",
      R"({"prompt":"once","max_tokens":1900,"n":8,"ignore_eos":true,"stream":true})")));
  connection.read_until("data: ");
  process.signal(SIGTERM);
  const proxy::testing::HttpAnswer answer = connection.read_answer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr("\"drain_timeout\""));
  EXPECT_EQ(process.wait(), number(ExitCode::kDrainTimeout)) << process.err();
  EXPECT_THAT(process.err(), HasSubstr("\"daemon.drain_timeout\""));
}

TEST_F(Stetd, LogsOneObjectPerLineAndNothingOfWhatWasSaid) {
  Process process(testing::stetd_binary(), args({"--set", "log.level=DEBUG"}));
  HttpConnection connection(http_port(&process));
  const char* const secret = "a very particular sentence";
  const auto answer = connection.request(
      "POST", "/v1/completions",
      std::string("{\"prompt\":\"") + secret + "\",\"max_tokens\":4,\"request_id\":\"mine\"}");
  EXPECT_EQ(answer.status, 200) << answer.body;
  const auto refused = connection.request(
      "POST", "/v1/completions",
      std::string("{\"prompt\":\"") + secret + "\",\"temperature\":9,\"request_id\":\"bad\"}");
  EXPECT_EQ(refused.status, 400) << refused.body;
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 0);
  std::stringstream lines(process.err());
  size_t num_ended = 0;
  for (std::string line; std::getline(lines, line);) {
    ASSERT_TRUE(nlohmann::json::accept(line)) << line;
    const auto event = nlohmann::json::parse(line);
    for (const char* key : {"ts", "level", "event"}) {
      EXPECT_TRUE(event.contains(key)) << line;
    }
    num_ended += event["event"] == "server.request_ended" ? 1 : 0;
  }
  EXPECT_EQ(num_ended, 2u) << process.err();
  EXPECT_THAT(process.err(), Not(HasSubstr("particular")));
}

TEST_F(Stetd, SocketFilesAreForTheirOwnerOnly) {
  const std::string socket_path = dir_.file("grpc.sock");
  Process process(testing::stetd_binary(),
                  {"--model", model_, "--grpc", "unix:" + socket_path, "--openai", ""});
  std::string line;
  ASSERT_TRUE(process.wait_for_line("\"daemon.ready\"", &line));
  const auto ready = nlohmann::json::parse(line);
  EXPECT_EQ(ready["grpc"], "unix:" + socket_path);
  EXPECT_EQ(ready["admin_grpc"], "unix:" + socket_path + ".admin");
  EXPECT_EQ(ready["openai"], "");
  process.signal(SIGINT);
  EXPECT_EQ(process.wait(), 0);
}

}  // namespace
}  // namespace stet::daemon
