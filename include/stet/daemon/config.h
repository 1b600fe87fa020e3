// Configuration of stetd: flag > environment > file > default, one schema
// (proto/stet/config/v1/config.proto), one table of defaults and ranges
// (src/daemon/config_table.cc). Everything here is generic over the descriptor: a new field is one
// line in the schema, one row in the table, and its consumer (src/daemon/options.cc).
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "stet/config/v1/config.pb.h"

namespace stet::daemon {

// Where a value came from.
struct Origin {
  enum class Kind { kDefault, kFile, kEnvironment, kFlag };
  Kind kind = Kind::kDefault;
  std::string name;  // file path, STET_ variable or flag
  int line = 0;      // from 1; files only
  int column = 0;
  std::string position() const;  // "stetd.txtpb:12:3", "STET_KV__TOKENS", "--kv-tokens"
  std::string comment()
      const;  // "stetd.txtpb:12", "env STET_KV__TOKENS", "flag --kv-tokens", "default"
};

// CFGnnn: stable numbers, documented in docs/configuration.md.
enum class ConfigErrorCode : int {
  kUnreadable = 1,
  kSyntax = 2,
  kUnknownField = 3,
  kWrongType = 4,
  kGivenTwice = 5,
  kOutOfRange = 6,
  kUnknownValue = 7,
  kBadAddress = 8,
  kMissing = 9,
  kTooMany = 10,
  kExposed = 11,
  kSameAddress = 12,
  kUsage = 13,  // unknown or incomplete flag: exit 64 instead of 78
};

struct ConfigError {
  Origin where;
  ConfigErrorCode code = ConfigErrorCode::kSyntax;
  std::string message;
  std::string to_string()
      const;  // "stetd.txtpb:3:5: error[CFG006]: kv.block_tokens = 96: must be ..."
};

// Every field of `values` is set, except those without a default; `origins` has one entry per leaf
// path that is set.
struct EffectiveConfig {
  config::v1::Config values;
  std::map<std::string, Origin> origins;
};

enum class Action { kServe, kCheckConfig, kPrintConfig, kVersion, kHelp, kHelpConfig };

struct CommandLine {
  Action action = Action::kServe;
  EffectiveConfig config;
  std::vector<ConfigError> errors;  // all of them, in the order of sources
  bool usage_error() const;
};

// `args` without the program name; `environment` as (name, value) pairs, only STET_* are looked at.
CommandLine load_config(std::span<const std::string> args,
                        std::span<const std::pair<std::string, std::string>> environment);

// The effective configuration as text format with origins in comments; parses back to the same
// values.
std::string print_config(const EffectiveConfig& config);
std::string help_text();
// listen.admin_grpc with "auto" resolved; "" = no admin listener.
std::string admin_address(const config::v1::ListenConfig& listen);
// docs/configuration.md.
std::string config_reference_markdown();
// Path of every leaf of the schema, "models[].path" form, in schema order.
std::vector<std::string> config_leaf_paths();

}  // namespace stet::daemon
