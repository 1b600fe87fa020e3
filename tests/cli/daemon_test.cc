// `stet` against no daemon, and against a real one on a socket of its own over a tiny model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

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

constexpr int kFailed = 1, kInputInvalid = 65, kInputMissing = 66, kUnavailable = 69;

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

// ---- batch

std::string batch_line(const std::string& custom_id, const std::string& body) {
  return R"({"custom_id":")" + custom_id + R"(","method":"POST","url":"/v1/completions","body":)" +
         body + "}\n";
}
const char* const kBody = R"({"prompt":"once upon","max_tokens":3,"temperature":0})";

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}
size_t num_lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST(WithoutDaemon, BatchExits69AndWritesNothing) {
  const TempDir dir;
  const std::string out = dir.file("out.jsonl");
  const Ended ended = run_stet({"batch", dir.write("in.jsonl", batch_line("a", kBody)), "--out",
                                out, "--address", "unix:" + dir.file("none.sock")});
  EXPECT_EQ(ended.code, kUnavailable);
  EXPECT_THAT(ended.err, HasSubstr("is stetd running?"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(WithDaemon, BatchAnswersEveryLineAndAWrongOneBesideThem) {
  const std::string in = dir_.write(
      "in.jsonl",
      batch_line("a", kBody) + "\n" + batch_line("hot", R"({"prompt":"x","temperature":3})") +
          batch_line("unknown", R"({"prompt":"x","colour":1})") + batch_line("b", kBody));
  const Ended ended = stet({"batch", in});
  EXPECT_EQ(ended.code, kFailed) << "two were refused";
  EXPECT_EQ(num_lines(ended.out), 4u) << ended.out;
  EXPECT_THAT(ended.out, HasSubstr(R"("custom_id":"a","response":{"status_code":200,)"));
  EXPECT_THAT(ended.out, HasSubstr(R"("custom_id":"b","response":{"status_code":200,)"));
  EXPECT_THAT(ended.out, HasSubstr(R"("custom_id":"hot","response":{"status_code":400,)"));
  EXPECT_THAT(ended.out, HasSubstr(R"("param":"temperature")"));
  EXPECT_THAT(ended.out, HasSubstr(R"("custom_id":"unknown","response":{"status_code":400,)"));
  EXPECT_THAT(ended.err,
              MatchesRegex("\\[4 requests: 2 answered, 2 refused, 0 answered before, 0 left; [1-6] "
                           "tokens, [0-9.]+ tokens/s, prompts of [0-9]+ tokens "
                           "\\([0-9]+ cached\\)\\]\n"));
}

TEST_F(WithDaemon, BatchGoesOnWhereItsOutputEndsAlsoInTheMiddleOfALine) {
  const std::string first = batch_line("a", kBody), second = batch_line("b", kBody);
  const std::string out = dir_.file("out.jsonl");
  const std::vector<std::string> both = {"batch", dir_.write("both.jsonl", first + second), "--out",
                                         out, "--quiet"};
  EXPECT_EQ(stet({"batch", dir_.write("one.jsonl", first), "--out", out, "--quiet"}).code, 0);
  const std::string one = content_of(out);
  dir_.write("out.jsonl", one + R"({"id":"batch_req_1","cust)");
  const Ended went_on = stet(both);
  EXPECT_EQ(went_on.code, 0) << went_on.err;
  EXPECT_THAT(went_on.err, IsEmpty());
  EXPECT_THAT(went_on.out, IsEmpty());
  const std::string two = content_of(out);
  EXPECT_THAT(two, StartsWith(one));
  EXPECT_EQ(num_lines(two), 2u) << two;
  EXPECT_EQ(stet(both).code, 0) << "nothing is left";
  EXPECT_EQ(content_of(out), two);
}

TEST_F(WithDaemon, BatchNamesTheLineOfItsFilesThatIsWrong) {
  const std::string good = batch_line("a", kBody);
  const std::pair<std::string, const char*> cases[] = {
      {good + "{\n", ":2: "},
      {good + "[]\n", ":2: a line must be a JSON object"},
      {good + "\n" + good, ":3: 'custom_id' 'a' came before"},
      {batch_line("", kBody), ":1: 'custom_id' has 0 bytes: must be in 1..64"},
      {R"({"custom_id":"a","body":{}})", ":1: a line needs"},
      {R"({"custom_id":"a","method":"GET","url":"/v1/completions","body":{}})", "must be 'POST'"},
      {R"({"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}})", "'url' must be"},
  };
  for (const auto& [text, says] : cases) {
    const Ended ended = stet({"batch", dir_.write("in.jsonl", text)});
    EXPECT_EQ(ended.code, kInputInvalid) << text;
    EXPECT_THAT(ended.err, HasSubstr(says));
    EXPECT_THAT(ended.out, IsEmpty());
  }
  const std::string in = dir_.write("in.jsonl", good);
  const Ended missing = stet({"batch", dir_.file("no.jsonl")});
  EXPECT_EQ(missing.code, kInputMissing);
  EXPECT_THAT(missing.err, HasSubstr("no.jsonl"));
  const std::string foreign = dir_.write("notes.txt", "dear diary\n");
  const Ended kept = stet({"batch", in, "--out", foreign});
  EXPECT_EQ(kept.code, kInputInvalid);
  EXPECT_THAT(kept.err, HasSubstr("notes.txt:1: no answer"));
  EXPECT_EQ(content_of(foreign), "dear diary\n");
}

}  // namespace
}  // namespace stet::cli
