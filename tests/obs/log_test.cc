#include "stet/obs/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "tests/obs/captured_stderr.h"
#include "tests/obs/lines.h"

namespace stet::obs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using testing::StderrTo;
using testing::TempFile;

// What `write` logs with `options`, line by line.
std::vector<std::string> logged(const LogOptions& options, const std::function<void()>& write) {
  const TempFile file;
  {
    const StderrTo redirected(file.fd());
    configure_logging(options);
    write();
    flush_logs();
  }
  const std::string text = file.read();
  EXPECT_TRUE(text.empty() || text.back() == '\n');
  return lines_of(text);
}

std::vector<std::string> keys_of(const nlohmann::ordered_json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) {
    keys.push_back(key);
  }
  return keys;
}

constexpr LogOptions kJson = {.level = LogLevel::kInfo, .format = LogFormat::kJson};
constexpr LogOptions kText = {.level = LogLevel::kInfo, .format = LogFormat::kText};

TEST(JsonLog, AnEventIsOneObjectOnOneLineWithItsKeysInOrder) {
  const auto lines = logged(kJson, [] {
    log_info("engine", "started",
             {{"blocks", 512},
              {"below", -3},
              {"most", UINT64_MAX},
              {"ratio", 0.5},
              {"prefix_cache", true},
              {"policy", "fcfs"},
              {"model", std::string("m")}});
  });
  ASSERT_EQ(lines.size(), 1u);
  const auto object = nlohmann::ordered_json::parse(lines[0]);
  EXPECT_THAT(keys_of(object), ElementsAre("ts", "level", "event", "blocks", "below", "most",
                                           "ratio", "prefix_cache", "policy", "model"));
  EXPECT_THAT(
      object["ts"].get<std::string>(),
      MatchesRegex("20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]+Z"));
  EXPECT_EQ(object["ts"].get<std::string>().size(), std::string("2026-01-01T00:00:00.000Z").size());
  EXPECT_EQ(object["level"], "info");
  EXPECT_EQ(object["event"], "engine.started");
  EXPECT_EQ(object["blocks"], 512);
  EXPECT_EQ(object["below"], -3);
  EXPECT_EQ(object["most"], UINT64_MAX);
  EXPECT_EQ(object["ratio"], 0.5);
  EXPECT_EQ(object["prefix_cache"], true);
  EXPECT_EQ(object["policy"], "fcfs");
  EXPECT_EQ(object["model"], "m");
}

TEST(JsonLog, AnyStringStaysInsideItsLine) {
  std::string every_byte;
  for (int b = 0; b < 256; ++b) {
    every_byte.push_back(static_cast<char>(b));
  }
  const auto lines = logged(kJson, [&] {
    log_warn("x", "y", {{"text", "one\ntwo\r\"three\"\\\x1b[2J"}});
    log_warn("x", "y", {{"text", every_byte}});
    log_warn("x", "y", {{"text", "{} %s {0}"}});  // no format of any library
    log_warn("x", "y", {{"nan", std::nan("")}});
  });
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(nlohmann::json::parse(lines[0])["text"], "one\ntwo\r\"three\"\\\x1b[2J");
  EXPECT_THAT(nlohmann::json::parse(lines[1])["text"].get<std::string>(), HasSubstr("abc"));
  EXPECT_EQ(nlohmann::json::parse(lines[2])["text"], "{} %s {0}");
  EXPECT_TRUE(nlohmann::json::parse(lines[3])["nan"].is_null()) << "JSON has no NaN";
}

TEST(TextLog, AnEventIsTimeLevelFolderEventAndItsValues) {
  const auto lines = logged(kText, [] {
    log_error("daemon", "stalled", {{"stall_ms", 30000}, {"live", false}, {"ratio", 0.25}});
    log_info("daemon", "ready");
  });
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], MatchesRegex("[0-9]+:[0-9]+:[0-9]+\\.[0-9]+ error daemon stalled "
                                     "stall_ms=30000 live=false ratio=0\\.25"));
  EXPECT_THAT(lines[1], MatchesRegex("[0-9:.]+ info daemon ready"));
}

TEST(TextLog, AValueCannotBreakItsLineNorCommandATerminal) {
  const auto lines = logged(kText, [] {
    log_warn("server", "grpc", {{"text", "one\ntwo\x1b[2J\x7f \xc3\xa4"}});
  });
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], HasSubstr("text=one\\x0atwo\\x1b[2J\\x7f \xc3\xa4"));
}

TEST(Log, ALevelHidesWhatIsLessSevere) {
  const std::pair<LogLevel, size_t> cases[] = {{LogLevel::kDebug, 4},
                                               {LogLevel::kInfo, 3},
                                               {LogLevel::kWarn, 2},
                                               {LogLevel::kError, 1},
                                               {LogLevel::kOff, 0}};
  for (const auto& [level, num_lines] : cases) {
    const auto lines = logged({.level = level, .format = LogFormat::kJson}, [] {
      log_debug("x", "debug");
      log_info("x", "info");
      log_warn("x", "warn");
      log_error("x", "error");
    });
    EXPECT_EQ(lines.size(), num_lines);
    EXPECT_EQ(log_enabled(LogLevel::kDebug), level == LogLevel::kDebug);
    EXPECT_EQ(log_enabled(LogLevel::kError), level != LogLevel::kOff);
    for (const std::string& line : lines) {
      const auto object = nlohmann::json::parse(line);
      EXPECT_EQ("x." + object["level"].get<std::string>(), object["event"]);
    }
  }
}

TEST(Log, AutoMeansJsonInAFileAndSentencesOnATerminal) {
  const auto in_file = logged({.format = LogFormat::kAuto}, [] { log_info("x", "y", {{"n", 1}}); });
  ASSERT_EQ(in_file.size(), 1u);
  EXPECT_TRUE(nlohmann::json::accept(in_file[0]));

  testing::Ends terminal;
  testing::Ends::make_terminal(&terminal);
  {
    const StderrTo redirected(terminal.write_fd);
    configure_logging({.format = LogFormat::kAuto});
    log_info("x", "y", {{"n", 1}});
    flush_logs();
  }
  char buffer[200];
  const ssize_t n = read(terminal.read_fd, buffer, sizeof buffer);
  ASSERT_GT(n, 0);
  EXPECT_THAT(std::string(buffer, static_cast<size_t>(n)), HasSubstr(" info x y n=1\r\n"));
}

TEST(Log, LinesOfManyThreadsComeWhole) {
  constexpr int kThreads = 4, kLines = 500;  // together they fit the ring
  const auto lines = logged(kJson, [] {
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([t] {
        for (int i = 0; i < kLines; ++i) {
          log_info("x", "y", {{"thread", t}, {"i", i}, {"pad", std::string(100, 'p')}});
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  });
  EXPECT_EQ(dropped_log_lines(), 0u);
  ASSERT_EQ(lines.size(), size_t{kThreads} * kLines);
  int next[kThreads] = {};
  for (const std::string& line : lines) {
    const auto object = nlohmann::json::parse(line);
    EXPECT_EQ(object["i"], next[object["thread"].get<int>()]++) << "in the order of its thread";
  }
}

// Nobody reads the pipe: the caller goes on, the oldest lines are dropped and counted.
TEST(Log, NeverBlocksItsCallerAndCountsWhatItDrops) {
  constexpr int kLines = 12'000;  // the ring holds 8,192
  testing::Ends pipe;
  testing::Ends::make_pipe(&pipe);
  std::string text;
  {
    StderrTo redirected(pipe.write_fd);
    configure_logging(kJson);
    EXPECT_EQ(dropped_log_lines(), 0u);
    for (int i = 0; i < kLines; ++i) {
      log_info("x", "y", {{"i", i}, {"pad", std::string(100, 'p')}});
    }
    EXPECT_GT(dropped_log_lines(), 0u);
    EXPECT_LT(dropped_log_lines(), uint64_t{kLines} - 8'000);
    std::thread reader([&] {
      char buffer[1 << 16];
      ssize_t n = 0;
      while ((n = read(pipe.read_fd, buffer, sizeof buffer)) > 0) {
        text.append(buffer, static_cast<size_t>(n));
      }
    });
    flush_logs();
    redirected.restore();
    pipe.close_write();
    reader.join();
  }
  const auto lines = lines_of(text);
  // The flush's own message may push out one line more.
  EXPECT_EQ(lines.size() + dropped_log_lines(), size_t{kLines});
  EXPECT_EQ(nlohmann::json::parse(lines.back())["i"], kLines - 1) << "the newest is kept";
}

}  // namespace
}  // namespace stet::obs
