// Sources, precedence, positions, exposure, printing.
#include "stet/daemon/config.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/daemon/testing.h"

namespace stet::daemon {
namespace {

using google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using testing::errors_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::load;
using testing::TempDir;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Errors with the folder taken out of their positions.
std::vector<std::string> errors_in(const TempDir& dir, const std::string& text) {
  std::vector<std::string> out =
      errors_of(load({"--model", "m.gguf", "--config", dir.write("c.txtpb", text)}));
  for (std::string& line : out) {
    if (line.starts_with(dir.path())) {
      line = line.substr(dir.path().size() + 1);
    }
  }
  return out;
}

TEST(ConfigPrecedence, FlagBeatsVariableBeatsLaterFileBeatsEarlierFileBeatsDefault) {
  const TempDir dir;
  const std::string first =
      dir.write("a.txtpb", "kv { tokens: 1024 block_tokens: 128 } log { level: DEBUG }");
  const std::string second = dir.write("b.txtpb", "kv { tokens: 2048 }");
  const CommandLine line =
      load({"--config", first, "--config", second, "--model", "m", "--set", "drain.timeout_ms=5"},
           {{"STET_DRAIN__TIMEOUT_MS", "6"}, {"STET_LOG__LEVEL", "warn"}});
  EXPECT_THAT(errors_of(line), IsEmpty());
  const auto& values = line.config.values;
  EXPECT_EQ(values.kv().tokens(), 2048u);
  EXPECT_EQ(values.kv().block_tokens(), 128u);
  EXPECT_EQ(values.log().level(), config::v1::LogConfig::WARN);
  EXPECT_EQ(values.drain().timeout_ms(), 5u);
  EXPECT_EQ(values.scheduler().max_step_tokens(), 512u);
  EXPECT_EQ(line.config.origins.at("kv.tokens").comment(), second + ":1");
  EXPECT_EQ(line.config.origins.at("kv.block_tokens").comment(), first + ":1");
  EXPECT_EQ(line.config.origins.at("log.level").comment(), "env STET_LOG__LEVEL");
  EXPECT_EQ(line.config.origins.at("drain.timeout_ms").comment(), "flag --set drain.timeout_ms");
  EXPECT_EQ(line.config.origins.at("scheduler.max_step_tokens").comment(), "default");
}

TEST(ConfigPrecedence, AModelListIsReplacedAsAWhole) {
  const TempDir dir;
  const std::string file = dir.write("a.txtpb", "models { id: \"one\" path: \"one.gguf\" }");
  const CommandLine flag = load({"--config", file, "--model", "two.gguf"});
  ASSERT_EQ(flag.config.values.models_size(), 1);
  EXPECT_EQ(flag.config.values.models(0).path(), "two.gguf");
  EXPECT_FALSE(flag.config.values.models(0).has_id()) << "the id of another file";
  // A variable names one field, not the list.
  const CommandLine variable = load({"--config", file}, {{"STET_MODELS__0__PATH", "three.gguf"}});
  EXPECT_EQ(variable.config.values.models(0).path(), "three.gguf");
  EXPECT_EQ(variable.config.values.models(0).id(), "one");
}

TEST(ConfigFlags, TakeTheirValueInBothForms) {
  for (const auto& args :
       {std::vector<std::string>{"--model=m", "--threads=2", "--prefix-cache=off"},
        {"--model", "m", "--threads", "2", "--prefix-cache", "off"}}) {
    const CommandLine line = load_config(args, {});
    EXPECT_THAT(errors_of(line), IsEmpty());
    EXPECT_EQ(line.config.values.compute().threads(), 2u);
    EXPECT_FALSE(line.config.values.kv().prefix_cache());
  }
  EXPECT_TRUE(
      load({"--model", "m", "--prefix-cache", "--threads", "2"}).config.values.kv().prefix_cache());
}

TEST(ConfigFlags, UnknownOnesAreAUsageErrorThatNamesTheNearest) {
  const CommandLine line = load({"--model", "m", "--kv-token", "5"});
  EXPECT_TRUE(line.usage_error());
  EXPECT_THAT(errors_of(line)[0], HasSubstr("did you mean '--kv-tokens'?"));
  EXPECT_TRUE(load({"m.gguf"}).usage_error());
  EXPECT_TRUE(load({"--model"}).usage_error());
  EXPECT_TRUE(load({"--model", "m", "--version=3"}).usage_error());
  EXPECT_TRUE(load({"--model", "m", "--set", "kv.tokens"}).usage_error());
  // A wrong value is an error of configuration, not of usage.
  const CommandLine value = load({"--model", "m", "--threads", "many"});
  EXPECT_FALSE(value.usage_error());
  EXPECT_THAT(
      errors_of(value),
      ElementsAre("--threads: error[CFG004]: compute.threads = many: must be a whole number"));
}

TEST(ConfigEnvironment, IgnoresOthersVariablesAndRefusesMisspeltOnes) {
  EXPECT_THAT(errors_of(load({"--model", "m"},
                             {{"PATH", "x"}, {"STET_TEST_MODEL", "x"}, {"STET_BIN", "x"}})),
              IsEmpty());
  // Kubernetes links for a service named stet, and for one named stet-proxy.
  EXPECT_THAT(errors_of(load({"--model", "m"}, {{"STET_SERVICE_HOST", "x"},
                                                {"STET_SERVICE_PORT_GRPC", "1"},
                                                {"STET_PORT", "tcp://1"},
                                                {"STET_PORT_8000_TCP_ADDR", "x"},
                                                {"STET_PROXY_SERVICE_HOST", "x"}})),
              IsEmpty());
  EXPECT_THAT(errors_of(load({"--model", "m"}, {{"STET_KV_TOKENS", "64"}})),
              ElementsAre("STET_KV_TOKENS: error[CFG003]: unknown variable 'STET_KV_TOKENS': did "
                          "you mean 'STET_KV__TOKENS'?"));
  EXPECT_EQ(errors_of(load({"--model", "m"}, {{"STET_THREADS", "1"}})).size(), 1u);
  EXPECT_EQ(errors_of(load({"--model", "m"}, {{"STET_KV__tokens", "64"}})).size(), 1u);
}

TEST(ConfigErrors, AreAllReportedInOrderWithTheirPositions) {
  const TempDir dir;
  EXPECT_THAT(
      errors_in(dir,
                "kv { block_tokens: 96  # not a multiple\n"
                "     blok_tokens: 64 }\n"
                "log {\n"
                "  level: LOUD\n"
                "  format: JSON format: TEXT\n"
                "}\n"
                "weather { rain: [1, { deep: \"x\" }] }\n"
                "compute { isa: \"x87\" }\n"),
      ElementsAre(
          "c.txtpb:1:20: error[CFG006]: kv.block_tokens = 96: must be a multiple of 64 in [64, "
          "512]",
          "c.txtpb:2:6: error[CFG003]: unknown field 'kv.blok_tokens': did you mean "
          "'kv.block_tokens'?",
          "c.txtpb:4:10: error[CFG007]: log.level = LOUD: must be one of DEBUG, INFO, WARN, ERROR",
          "c.txtpb:5:16: error[CFG005]: log.format: given twice, first in line 5",
          "c.txtpb:7:1: error[CFG003]: unknown field 'weather'",
          ::testing::StartsWith(
              "c.txtpb:8:16: error[CFG007]: compute.isa = \"x87\": must be one of auto, ")));
}

TEST(ConfigErrors, ASyntaxErrorSaysWhatWasExpectedWhere) {
  const TempDir dir;
  const std::pair<const char*, const char*> cases[] = {
      {"kv {",
       "c.txtpb:1:5: error[CFG002]: expected a field name or '}', found the end of the file"},
      {"kv { tokens 5 }", "c.txtpb:1:13: error[CFG002]: expected ':' after kv.tokens, found '5'"},
      {"kv { tokens: }", "c.txtpb:1:14: error[CFG002]: expected a value for kv.tokens, found '}'"},
      {"kv: 5", "c.txtpb:1:5: error[CFG002]: expected '{' after kv, found '5'"},
      {"\n\n  }", "c.txtpb:3:3: error[CFG002]: expected a field name, found '}'"},
      {"log { level: - }",
       "c.txtpb:1:16: error[CFG002]: expected a value for log.level, found '}'"},
      {"models { path: \"x }", "c.txtpb:1:20: error[CFG002]: Unexpected end of string."},
      {"kv \x1b[2J {",
       "c.txtpb:1:4: error[CFG002]: Invalid control characters encountered in text."},
      {"kv \"a\x1b[2J\" {", "c.txtpb:1:4: error[CFG002]: expected '{' after kv, found '\"a?[2J\"'"},
      {"rain [1", "c.txtpb:1:1: error[CFG003]: unknown field 'rain'"},
  };
  for (const auto& [text, error] : cases) {
    const std::vector<std::string> errors = errors_in(dir, text);
    ASSERT_FALSE(errors.empty()) << text;
    EXPECT_EQ(errors[0], error) << text;
  }
  EXPECT_THAT(errors_in(dir, ""), IsEmpty());
  EXPECT_THAT(
      errors_in(dir, "kv < tokens: 0x40, prefix_cache: true; >  # both brackets, both separators"),
      IsEmpty());
}

TEST(ConfigErrors, AFileThatIsNoneIsNamed) {
  const TempDir dir;
  EXPECT_THAT(errors_of(load({"--model", "m", "--config", dir.file("no.txtpb")}))[0],
              HasSubstr("no.txtpb:1:1: error[CFG001]: cannot read: No such file"));
  EXPECT_THAT(errors_of(load({"--model", "m", "--config", dir.path()}))[0],
              HasSubstr("error[CFG001]: not a file"));
  EXPECT_THAT(
      errors_of(load({"--model", "m", "--config", dir.write("big", std::string(2 << 20, '#'))}))[0],
      HasSubstr("error[CFG001]: larger than 1 MiB"));
}

TEST(ConfigModels, ExactlyOneIsServed) {
  EXPECT_THAT(
      errors_of(load({})),
      ElementsAre(
          "stetd: error[CFG009]: models[0].path: not set; name a GGUF file: stetd --model FILE"));
  EXPECT_THAT(errors_of(load({"--set", "models[0].id=x"})),
              ElementsAre(HasSubstr("error[CFG009]")));
  EXPECT_THAT(errors_of(load({"--set", "models[0].path=a", "--set", "models[1].path=b"})),
              ElementsAre("--set models[1].path: error[CFG010]: models[1]: exactly one model can "
                          "be served at present"));
  EXPECT_THAT(errors_of(load({"--model", "a", "--set", "models[2].path=b"})),
              ElementsAre(HasSubstr("the index leaves a gap")));
  EXPECT_THAT(errors_of(load({"--model", ""})),
              ::testing::Contains(HasSubstr("must be not empty")));
}

TEST(ConfigExposure, AListenerOffLoopbackNeedsAuthModeNoneInWriting) {
  const auto with = [](std::initializer_list<std::string> more) {
    std::vector<std::string> args = {"--model", "m"};
    args.insert(args.end(), more);
    return errors_of(load_config(args, {}));
  };
  for (const std::string address : {"0.0.0.0:8000", "[::]:8000", "10.0.0.1:80", "example.org:80"}) {
    EXPECT_THAT(with({"--openai", address}), ElementsAre(HasSubstr("Write auth { mode: NONE }")))
        << address;
    EXPECT_THAT(with({"--openai", address, "--set", "auth.mode=NONE"}), IsEmpty()) << address;
  }
  for (const std::string address :
       {"127.0.0.1:8000", "127.9.9.9:8000", "[::1]:8000", "localhost:8000", ""}) {
    EXPECT_THAT(with({"--openai", address}), IsEmpty()) << address;
  }
}

TEST(ConfigExposure, GrpcOffLoopbackNeedsGrpcExposedAsWell) {
  const CommandLine neither = load({"--model", "m", "--grpc", "0.0.0.0:1"});
  EXPECT_THAT(errors_of(neither),
              ElementsAre(HasSubstr("auth { mode: NONE }"), HasSubstr("grpc_exposed: true")));
  const CommandLine one = load({"--model", "m", "--grpc", "0.0.0.0:1", "--set", "auth.mode=NONE"});
  EXPECT_THAT(errors_of(one), ElementsAre(HasSubstr("grpc_exposed: true")));
  const CommandLine both = load({"--model", "m", "--grpc", "0.0.0.0:1", "--set", "auth.mode=NONE",
                                 "--set", "listen.grpc_exposed=true"});
  EXPECT_THAT(errors_of(both), IsEmpty());
  EXPECT_THAT(errors_of(load({"--model", "m", "--grpc", "unix:/run/stet/grpc.sock"})), IsEmpty());
}

TEST(ConfigExposure, TheAdminListenerNeverLeavesLoopback) {
  const CommandLine line =
      load({"--model", "m", "--set", "listen.admin_grpc=0.0.0.0:9", "--set", "auth.mode=NONE"});
  EXPECT_THAT(errors_of(line), ElementsAre(HasSubstr("must be loopback")));
}

TEST(ConfigExposure, TheAdminListenerFollowsTheGrpcListenerUnlessItIsNamed) {
  const auto admin = [](const std::string& grpc, const std::string& admin_text) {
    config::v1::ListenConfig listen;
    listen.set_grpc(grpc);
    listen.set_admin_grpc(admin_text);
    return admin_address(listen);
  };
  EXPECT_EQ(admin("127.0.0.1:50051", "auto"), "127.0.0.1:50052");
  EXPECT_EQ(admin("0.0.0.0:7000", "auto"), "127.0.0.1:7001");
  EXPECT_EQ(admin("127.0.0.1:0", "auto"), "127.0.0.1:0");
  EXPECT_EQ(admin("127.0.0.1:65535", "auto"), "127.0.0.1:0");
  EXPECT_EQ(admin("unix:/run/s", "auto"), "unix:/run/s.admin");
  EXPECT_EQ(admin("127.0.0.1:1", "127.0.0.1:9"), "127.0.0.1:9");
  EXPECT_EQ(admin("127.0.0.1:1", ""), "");
}

TEST(ConfigListeners, TwoCannotShareAnAddress) {
  EXPECT_THAT(errors_of(load({"--model", "m", "--grpc", "127.0.0.1:8000"})),
              ElementsAre(HasSubstr("another listener has this address")));
  EXPECT_THAT(errors_of(load({"--model", "m", "--grpc", "127.0.0.1:0", "--openai", "127.0.0.1:0"})),
              IsEmpty());
}

TEST(ConfigEviction, TailNeedsATargetToEvictBy) {
  const std::string tail = "kv.eviction=tail";
  EXPECT_THAT(errors_of(load({"--model", "m", "--set", tail})),
              ElementsAre(HasSubstr("set scheduler.ttft_target_ms")));
  EXPECT_THAT(
      errors_of(load({"--model", "m", "--set", tail, "--set", "scheduler.ttft_target_ms=1"})),
      IsEmpty());
}

TEST(ConfigListeners, AddressesThatAreNoneAreRefused) {
  for (const std::string address : {"8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", ":80",
                                    "a b:1", "unix:", "[::1:80", "127.0.0.1:-1", "http://x:1/"}) {
    EXPECT_THAT(errors_of(load({"--model", "m", "--grpc", address})),
                ElementsAre(HasSubstr("error[CFG008]")))
        << address;
  }
  EXPECT_THAT(errors_of(load({"--model", "m", "--openai", "unix:/tmp/x"})),
              ElementsAre(HasSubstr("error[CFG008]")));
}

TEST(ConfigPrint, ParsesBackToTheSameWithOriginsInComments) {
  const TempDir dir;
  const std::string file = dir.write(
      "a.txtpb", "\nkv { tokens: 1024 }\nmodels { id: \"i\" path: \"odd \\\"name\\\" #.gguf\" }");
  const CommandLine line =
      load({"--config", file, "--threads", "3"}, {{"STET_LOG__FORMAT", "JSON"}});
  ASSERT_THAT(errors_of(line), IsEmpty());
  const std::string printed = print_config(line.config);
  EXPECT_THAT(printed, HasSubstr("  tokens: 1024  # " + file + ":2\n"));
  EXPECT_THAT(printed, HasSubstr("  threads: 3  # flag --threads\n"));
  EXPECT_THAT(printed, HasSubstr("  format: JSON  # env STET_LOG__FORMAT\n"));
  EXPECT_THAT(printed, HasSubstr("  block_tokens: 64  # default\n"));
  EXPECT_THAT(printed, HasSubstr("  # mode: not set\n"));
  const CommandLine again = load({"--config", dir.write("printed.txtpb", printed)});
  EXPECT_THAT(errors_of(again), IsEmpty());
  EXPECT_TRUE(MessageDifferencer::Equals(line.config.values, again.config.values));
  // And protobuf's own parser reads the same, but for blocks that hold nothing but a comment.
  config::v1::Config parsed;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(printed, &parsed));
  EXPECT_TRUE(parsed.has_auth() && !parsed.auth().has_mode());
  parsed.clear_auth();
  EXPECT_TRUE(MessageDifferencer::Equals(line.config.values, parsed));
}

TEST(ConfigExamples, EachLoadsAndProtobufsOwnParserReadsTheSame) {
  size_t num_examples = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(testing::source_dir() + "/configs")) {
    if (entry.path().extension() != ".txtpb") {
      continue;
    }
    ++num_examples;
    const CommandLine line = load({"--config", entry.path().string()});
    EXPECT_THAT(errors_of(line), IsEmpty()) << entry.path();
    config::v1::Config parsed, merged = load({}).config.values;
    ASSERT_TRUE(
        google::protobuf::TextFormat::ParseFromString(read(entry.path().string()), &parsed));
    merged.MergeFrom(parsed);
    EXPECT_TRUE(MessageDifferencer::Equals(merged, line.config.values)) << entry.path();
  }
  EXPECT_GE(num_examples, 4u);
}

TEST(ConfigReference, ThePageIsWhatTheTableSays) {
  EXPECT_EQ(read(testing::source_dir() + "/docs/configuration.md"), config_reference_markdown())
      << "write it anew: stetd --help-config > docs/configuration.md";
}

TEST(ConfigReference, HelpNamesEveryShortFlag) {
  const std::string help = help_text();
  for (const char* flag :
       {"--model", "--grpc", "--openai", "--kv-tokens", "--threads", "--isa", "--max-step-tokens",
        "--max-running", "--prefix-cache", "--policy", "--config", "--set", "--check-config",
        "--print-config", "--version", "--help"}) {
    EXPECT_THAT(help, HasSubstr(std::string("  ") + flag)) << flag;
  }
}

}  // namespace
}  // namespace stet::daemon
