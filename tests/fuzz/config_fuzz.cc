// Any bytes as a configuration file: every error is one printable line with a position inside the
// text, and a configuration without errors prints to a text that parses back to the same values.
// The last 0xFF byte, if there is one, splits the input: what follows it becomes a --set argument,
// so that mutations reach the paths and values of flags as well.
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "src/daemon/config_assign.h"
#include "src/daemon/config_text.h"
#include "src/daemon/known_names.h"
#include "stet/daemon/config.h"

// In place of src/daemon/known_names.cc, which would bring kernels and scheduler.
namespace stet::daemon {
std::vector<std::string> kernel_table_names() {
  return {"avx2", "scalar"};
}
std::vector<std::string> policy_names() {
  return {"past_future", "aggressive"};  // the default must be among them
}
std::vector<std::string> kv_mode_names() {
  return {"paged", "virtual"};
}
std::vector<std::string> eviction_names() {
  return {"lru", "priority", "cost", "ttl", "tail", "future"};
}
}  // namespace stet::daemon

namespace {

using stet::daemon::Assignment;
using stet::daemon::ConfigError;
using stet::daemon::EffectiveConfig;

constexpr char kFile[] = "fuzz.txtpb";

void expect(bool condition, const char* what, std::string_view detail) {
  if (!condition) {
    std::fprintf(stderr, "%s: '%.*s'\n", what, static_cast<int>(detail.size()), detail.data());
    std::abort();
  }
}

std::vector<ConfigError> read(std::string_view text, EffectiveConfig* config) {
  std::vector<Assignment> assignments;
  std::vector<ConfigError> errors;
  parse_config_text(kFile, text, &assignments, &errors);
  for (const Assignment& assignment : assignments) {
    assign(assignment, config, &errors);
  }
  return errors;
}

void judge(const std::vector<ConfigError>& errors, std::string_view text) {
  const auto num_lines = 1 + std::count(text.begin(), text.end(), '\n');
  for (const ConfigError& error : errors) {
    const std::string line = error.to_string();
    expect(std::none_of(line.begin(), line.end(),
                        [](unsigned char c) { return c < 0x20 || c == 0x7f; }),
           "an error is one printable line", line);
    expect(line.find("error[CFG0") != std::string::npos, "an error has a number", line);
    expect(error.where.line >= 1 && error.where.line <= num_lines && error.where.column >= 1,
           "an error has a position", line);
  }
}

void judge_flag(const std::string& argument) {
  const std::vector<std::string> args = {"--model", "m", "--set", argument};
  for (const ConfigError& error : stet::daemon::load_config(args, {}).errors) {
    expect(!error.message.empty(), "an error says something", argument);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto quiet = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(quiet);
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const size_t split = text.rfind('\xff'); split != std::string_view::npos) {
    judge_flag(std::string(text.substr(split + 1)));
    text = text.substr(0, split);
  }
  EffectiveConfig config;
  const std::vector<ConfigError> errors = read(text, &config);
  judge(errors, text);
  if (!errors.empty()) {
    return 0;  // Refused as a whole: what it would print is promised to nobody.
  }
  const std::string printed = stet::daemon::print_config(config);
  EffectiveConfig again;
  const std::vector<ConfigError> none = read(printed, &again);
  expect(none.empty(), "what was printed is valid", none.empty() ? "" : none[0].to_string());
  expect(google::protobuf::util::MessageDifferencer::Equals(config.values, again.values),
         "what was printed means the same", printed);
  return 0;
}
