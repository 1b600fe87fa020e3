// `stet` against no daemon, and against a real one on a socket of its own over a tiny model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "tests/cli/stet_process.h"

namespace stet::cli {
namespace {

using daemon::testing::Process;
using daemon::testing::TempDir;
using ::testing::AllOf;
using testing::Ended;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using testing::run_stet;
using ::testing::StartsWith;

constexpr int kFailed = 1, kUnavailable = 69;

TEST(WithoutDaemon, HealthExits1AndSaysHowToStartOne) {
  const TempDir dir;
  const std::string address = "unix:" + dir.file("none.sock");
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--live"}}) {
    std::vector<std::string> args = {"health", "--address", address};
    args.insert(args.end(), more.begin(), more.end());
    const Ended ended = run_stet(args);
    EXPECT_EQ(ended.code, kFailed);
    EXPECT_EQ(ended.err, "stet: cannot reach " + address +
                             ": is stetd running? start it with: stetd --model FILE\n");
    EXPECT_THAT(ended.out, IsEmpty());
  }
}

TEST(WithoutDaemon, ChatAndCompleteExit69AndSayHowToStartOne) {
  const TempDir dir;
  const std::string address = "unix:" + dir.file("none.sock");
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"chat", "--once", "hello"}, {"complete", "hello"}}) {
    std::vector<std::string> args = {"--address", address};
    args.insert(args.end(), command.begin(), command.end());
    const Ended ended = run_stet(args);
    EXPECT_EQ(ended.code, kUnavailable);
    EXPECT_THAT(ended.err, StartsWith("stet: cannot reach " + address));
    EXPECT_THAT(ended.out, IsEmpty()) << "nothing was answered";
  }
}

TEST(WithoutDaemon, TopExits69AndSaysHowToStartOne) {
  const TempDir dir;
  const std::string address = "unix:" + dir.file("none.sock");
  const Ended ended = run_stet({"top", "--once", "--address", address});
  EXPECT_EQ(ended.code, kUnavailable);
  EXPECT_EQ(ended.err, "stet: cannot reach " + address +
                           ".admin: is stetd running? start it with: stetd --model FILE\n");
  EXPECT_THAT(ended.out, IsEmpty());
}

class WithDaemon : public ::testing::Test {
 protected:
  WithDaemon() { EXPECT_TRUE(stetd_.wait_for_line("\"daemon.ready\"")); }
  ~WithDaemon() override {
    stetd_.signal(SIGTERM);
    EXPECT_EQ(stetd_.wait(), 0);
  }
  Ended stet(std::vector<std::string> args, const std::string& stdin_path = "/dev/null") const {
    args.insert(args.begin(), {"--address", "unix:" + socket_});
    return run_stet(args, stdin_path);
  }

  const TempDir dir_;
  const std::string socket_ = dir_.file("s");
  Process stetd_{STETD_BINARY,
                 {"--model", dir_.write_model("tiny.gguf", {}), "--grpc", "unix:" + socket_,
                  "--openai", "", "--threads", "1"}};
};

TEST_F(WithDaemon, HealthSaysReadyAndLive) {
  for (const auto& [flag, word] : std::initializer_list<std::pair<const char*, const char*>>{
           {"--ready", "ready\n"}, {"--live", "live\n"}}) {
    const Ended ended = stet({"health", flag});
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_EQ(ended.out, word);
  }
}

TEST_F(WithDaemon, CompleteContinuesATextFromArgumentOrStdinAlike) {
  const std::vector<std::string> flags = {"--max-tokens", "5", "--temperature", "0"};
  std::vector<std::string> args = {"complete", "once upon a time"};
  args.insert(args.end(), flags.begin(), flags.end());
  const Ended first = stet(args);
  EXPECT_EQ(first.code, 0) << first.err;
  EXPECT_THAT(first.out, Not(IsEmpty()));
  EXPECT_THAT(first.err, MatchesRegex("\\[[1-5] tokens.*, first token after [0-9]+ ms, prompt of "
                                      "[0-9]+ tokens.*\\]\n"));
  args[1] = "-";
  args.push_back("--quiet");
  const Ended second = stet(args, dir_.write("prompt.txt", "once upon a time"));
  EXPECT_EQ(second.code, 0) << second.err;
  EXPECT_EQ(second.out, first.out);
  EXPECT_THAT(second.err, IsEmpty());
}

TEST_F(WithDaemon, ChatAnswersOnceOrLineByLine) {
  const std::vector<std::string> flags = {"--max-tokens", "4", "--seed", "7", "--quiet"};
  std::vector<std::string> once = {"chat", "--once", "hello"};
  once.insert(once.end(), flags.begin(), flags.end());
  const Ended first = stet(once);
  EXPECT_EQ(first.code, 0) << first.err;
  std::vector<std::string> talk = {"chat"};
  talk.insert(talk.end(), flags.begin(), flags.end());
  const Ended lines =
      stet(talk, dir_.write("lines", "hello\n\n/clear\nhello\n/exit\nnever read\n"));
  EXPECT_EQ(lines.code, 0) << lines.err;
  EXPECT_EQ(lines.out, first.out + first.out) << "after /clear the same question, the same answer";
  EXPECT_THAT(lines.err, IsEmpty()) << "no prompts where stdin is no terminal";
}

TEST_F(WithDaemon, TopPrintsOneFrameWithoutATerminal) {
  const Ended ended = stet({"top", "--once", "--interval", "100"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, StartsWith("stet top  unix:" + socket_ + ".admin  step "));
  EXPECT_THAT(ended.out, HasSubstr("\nrunning   0, parked 0\n"));
  EXPECT_THAT(ended.out, HasSubstr("\ngoodput   no request had a target"));
  EXPECT_THAT(ended.out, Not(HasSubstr("\x1b"))) << "no control codes into a file";
  const Ended often = stet({"top", "--once", "--interval", "7"});
  EXPECT_EQ(often.code, kFailed);
  EXPECT_THAT(often.err, HasSubstr("interval_ms"));
  const Ended wrong = stet({"top", "--once", "--admin", "unix:" + socket_});
  EXPECT_EQ(wrong.code, kUnavailable);
  EXPECT_THAT(wrong.err, HasSubstr("not stetd's admin listener"));
}

TEST_F(WithDaemon, ARefusalNamesFieldAndRangeAndExits1) {
  const Ended hot = stet({"complete", "x", "--temperature", "3"});
  EXPECT_EQ(hot.code, kFailed);
  EXPECT_THAT(hot.err, AllOf(HasSubstr("sampling.temperature"), HasSubstr("0..2")));
  const Ended model = stet({"chat", "--once", "x", "--model", "other"});
  EXPECT_EQ(model.code, kFailed);
  EXPECT_THAT(model.err, AllOf(HasSubstr("other"), HasSubstr("tiny")));
}

}  // namespace
}  // namespace stet::cli
