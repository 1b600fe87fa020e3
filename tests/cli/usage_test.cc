// The face of `stet` that needs no daemon: help, version, exit codes of sysexits.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tests/cli/stet_process.h"

namespace stet::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::Ended;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::run_stet;
using ::testing::UnorderedElementsAre;

constexpr int kUsage = 64;

struct HelpEntry {
  std::string name;  // "--seed UINT", "chat"
  std::string text;
};

// CLI11's help: an entry starts two columns in; its text follows in the same line or, after a long
// name, in the next.
std::vector<HelpEntry> entries_of(const std::string& help) {
  std::vector<HelpEntry> entries;
  std::stringstream lines(help);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("   ")) {
      if (!entries.empty()) {
        entries.back().text += line.substr(line.find_first_not_of(' '));
      }
    } else if (line.starts_with("  ")) {
      const size_t gap = line.find("  ", 2);
      const size_t text = gap == std::string::npos ? gap : line.find_first_not_of(' ', gap);
      entries.push_back({line.substr(2, gap == std::string::npos ? gap : gap - 2),
                         text == std::string::npos ? "" : line.substr(text)});
    }
  }
  return entries;
}

std::vector<std::string> subcommands() {
  const std::string help = run_stet({"--help"}).out;
  std::vector<std::string> names;
  const size_t at = help.find("Subcommands:");
  EXPECT_NE(at, std::string::npos) << help;
  for (const HelpEntry& entry : entries_of(help.substr(at))) {
    names.push_back(entry.name);
  }
  return names;
}

TEST(StetHelp, ListsEverySubcommand) {
  EXPECT_THAT(subcommands(),
              UnorderedElementsAre("chat", "complete", "batch", "inspect", "health", "top"));
}

TEST(StetHelp, EveryFlagAndSubcommandHasAText) {
  std::vector<std::vector<std::string>> pages = {{"--help"}};
  for (const std::string& name : subcommands()) {
    pages.push_back({name, "--help"});
  }
  for (const std::vector<std::string>& page : pages) {
    const Ended help = run_stet(page);
    EXPECT_EQ(help.code, 0) << page[0];
    EXPECT_THAT(help.err, IsEmpty());
    const std::vector<HelpEntry> entries = entries_of(help.out);
    EXPECT_GE(entries.size(), 2u) << help.out;
    for (const HelpEntry& entry : entries) {
      EXPECT_GE(entry.text.size(), 4u) << page[0] << ": " << entry.name << "\n" << help.out;
    }
  }
}

// The negative control of the test above.
TEST(StetHelp, AFlagWithoutTextWouldBeSeen) {
  const auto entries = entries_of(
      "Options:\n"
      "  --first TEXT                What it is\n"
      "  --second UINT\n"
      "  --a-name-too-long-for-its-column TEXT\n"
      "                              Its text\n");
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].text, "What it is");
  EXPECT_EQ(entries[1].text, "");
  EXPECT_EQ(entries[2].text, "Its text");
}

TEST(StetVersion, IsOneLineOnStdout) {
  const Ended version = run_stet({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_EQ(version.out, "stet 0.1.0\n");
  EXPECT_THAT(version.err, IsEmpty());
}

TEST(StetUsage, WrongUseExits64AndSaysWhatIsWrongOnStderr) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{}, "subcommand"},
      {{"sing"}, "unknown command 'sing'"},
      {{"--no-such-flag", "chat"}, "--no-such-flag"},
      {{"chat", "--no-such-flag"}, "--no-such-flag"},
      {{"chat", "--seed", "many"}, "--seed"},
      {{"chat", "--top-k", "-1"}, "--top-k"},
      {{"complete"}, "prompt"},
      {{"complete", "text", "--temperature", "warm"}, "--temperature"},
      {{"complete", "text", "--max-tokens", "99999999999"}, "--max-tokens"},
      {{"batch"}, "input"},
      {{"inspect"}, "model"},
      {{"health", "--live", "--ready"}, "--"},
      {{"health", "--timeout-ms", "soon"}, "--timeout-ms"},
      {{"top", "--interval", "often"}, "--interval"},
      {{"--address"}, "--address"},
  };
  for (const auto& [args, says] : cases) {
    const Ended ended = run_stet(args);
    EXPECT_EQ(ended.code, kUsage) << says;
    EXPECT_THAT(ended.err, HasSubstr(says));
    EXPECT_THAT(ended.out, IsEmpty());
  }
}

}  // namespace
}  // namespace stet::cli
