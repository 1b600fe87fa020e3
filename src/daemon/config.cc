// Sources in order of precedence (operations.md sec. 3), then what holds between fields.
#include "stet/daemon/config.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "src/daemon/address.h"
#include "src/daemon/config_assign.h"
#include "src/daemon/config_table.h"
#include "src/daemon/config_text.h"
#include "stet/base/check.h"

namespace stet::daemon {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr uint64_t kMaxFileBytes = 1 << 20;

void collect_leaves(const Descriptor* message, const std::string& prefix,
                    std::vector<std::string>* out) {
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    const std::string path = prefix + field->name() + (field->is_repeated() ? "[]" : "");
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      collect_leaves(field->message_type(), path + ".", out);
    } else {
      out->push_back(path);
    }
  }
}

// ---- command line

struct Flags {
  Action action = Action::kServe;
  std::vector<std::string> config_files;
  std::vector<Assignment> assignments;
};

struct ActionFlag {
  std::string_view flag;
  Action action;
};
constexpr ActionFlag kActionFlags[] = {
    {"--check-config", Action::kCheckConfig},
    {"--print-config", Action::kPrintConfig},
    {"--version", Action::kVersion},
    {"--help", Action::kHelp},
    {"-h", Action::kHelp},
    {"--help-config", Action::kHelpConfig},
};

Origin flag_origin(std::string_view flag) {
  return {Origin::Kind::kFlag, std::string(flag)};
}

void usage(std::string_view flag, std::string message, std::vector<ConfigError>* errors) {
  errors->push_back({flag_origin(flag), ConfigErrorCode::kUsage, std::move(message)});
}

std::vector<std::string> known_flags() {
  std::vector<std::string> names = {"--config", "--set"};
  for (const ActionFlag& flag : kActionFlags) {
    names.emplace_back(flag.flag);
  }
  for (const ShortFlag& flag : short_flags()) {
    names.emplace_back(flag.flag);
  }
  return names;
}

bool is_bool_leaf(std::string_view path) {
  const FieldDescriptor* leaf = find_leaf(path);
  return leaf != nullptr && leaf->cpp_type() == FieldDescriptor::CPPTYPE_BOOL;
}

// One flag at args[*i]; moves *i over a value taken from the next argument.
void parse_flag(std::span<const std::string> args, size_t* i, Flags* flags,
                std::vector<ConfigError>* errors) {
  const std::string& argument = args[*i];
  const size_t equals = argument.find('=');
  const std::string name = argument.substr(0, equals);
  std::optional<std::string> value;
  if (equals != std::string::npos) {
    value = argument.substr(equals + 1);
  }
  for (const ActionFlag& flag : kActionFlags) {
    if (name == flag.flag) {
      flags->action = std::max(flags->action, flag.action);
      if (value) {
        usage(name, name + ": takes no value", errors);
      }
      return;
    }
  }
  const auto short_flag = std::find_if(short_flags().begin(), short_flags().end(),
                                       [&](const ShortFlag& flag) { return name == flag.flag; });
  const bool is_short = short_flag != short_flags().end();
  if (!is_short && name != "--config" && name != "--set") {
    const std::string best = nearest(name, known_flags());
    usage(name,
          "unknown flag '" + name + "'" + (best.empty() ? "" : ": did you mean '" + best + "'?") +
              " (see --help)",
          errors);
    return;
  }
  if (!value) {
    const bool has_next = *i + 1 < args.size() && !args[*i + 1].starts_with("--");
    if (has_next) {
      value = args[++*i];
    } else if (is_short && is_bool_leaf(short_flag->path)) {
      value = "true";
    } else {
      usage(name, name + ": needs a value", errors);
      return;
    }
  }
  if (name == "--config") {
    flags->config_files.push_back(*value);
    return;
  }
  Assignment assignment{.origin = flag_origin(name), .name_origin = flag_origin(name)};
  if (is_short) {
    assignment.path = short_flag->path;
    assignment.value = *value;
  } else {
    const size_t split = value->find('=');
    if (split == std::string::npos) {
      usage(name, "--set: expected path.to.field=value, found '" + *value + "'", errors);
      return;
    }
    assignment.path = value->substr(0, split);
    assignment.value = value->substr(split + 1);
    assignment.origin = assignment.name_origin = flag_origin("--set " + assignment.path);
  }
  flags->assignments.push_back(std::move(assignment));
}

Flags parse_flags(std::span<const std::string> args, std::vector<ConfigError>* errors) {
  Flags flags;
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i].starts_with("-")) {
      parse_flag(args, &i, &flags, errors);
    } else {
      usage(args[i], "unexpected argument '" + args[i] + "' (a model is given as --model FILE)",
            errors);
    }
  }
  return flags;
}

// ---- files

void load_file(const std::string& path, EffectiveConfig* config, std::vector<ConfigError>* errors) {
  const Origin origin{Origin::Kind::kFile, path, 1, 1};
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (error || !std::filesystem::is_regular_file(status)) {
    errors->push_back({origin, ConfigErrorCode::kUnreadable,
                       error ? "cannot read: " + error.message() : "not a file"});
    return;
  }
  if (const uint64_t bytes = std::filesystem::file_size(path, error);
      error || bytes > kMaxFileBytes) {
    errors->push_back(
        {origin, ConfigErrorCode::kUnreadable, "larger than 1 MiB: not a configuration"});
    return;
  }
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) {
    if (!file || file.peek() != std::ifstream::traits_type::eof()) {
      errors->push_back({origin, ConfigErrorCode::kUnreadable, "cannot read"});
      return;
    }
  }
  const size_t first_error = errors->size();
  std::vector<Assignment> assignments;
  parse_config_text(path, text.str(), &assignments, errors);
  const bool sets_models =
      std::any_of(assignments.begin(), assignments.end(),
                  [](const Assignment& a) { return a.path.starts_with("models["); });
  if (sets_models) {
    clear_models(config);  // a list is replaced, not merged
  }
  for (const Assignment& assignment : assignments) {
    assign(assignment, config, errors);
  }
  std::stable_sort(errors->begin() + static_cast<ptrdiff_t>(first_error), errors->end(),
                   [](const ConfigError& a, const ConfigError& b) {
                     return std::pair(a.where.line, a.where.column) <
                            std::pair(b.where.line, b.where.column);
                   });
}

// ---- environment

// Variables that Kubernetes puts into every pod beside a service named stet or stet-..., and those
// of our own test suite.
bool is_foreign_variable(std::string_view name) {
  if (name.starts_with("STET_TEST_") || name == "STET_BIN") {
    return true;
  }
  if (name.find("__") != std::string_view::npos) {
    return false;
  }
  return name.ends_with("_SERVICE_HOST") || name.find("_SERVICE_PORT") != std::string_view::npos ||
         name.ends_with("_PORT") || name.find("_PORT_") != std::string_view::npos;
}

std::string lower_path_of_variable(std::string_view name) {
  std::string path;
  std::string_view rest = name.substr(std::string_view("STET_").size());
  while (true) {
    const size_t split = rest.find("__");
    std::string part(rest.substr(0, split));
    std::transform(part.begin(), part.end(), part.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    path += (path.empty() ? "" : ".") + part;
    if (split == std::string_view::npos) {
      return path;
    }
    rest = rest.substr(split + 2);
  }
}

std::string canonical_path(std::string path) {  // models.0.path -> models[0].path
  const std::string_view kModels = "models.";
  if (path.starts_with(kModels)) {
    const size_t end = path.find('.', kModels.size());
    if (end != std::string::npos && end > kModels.size()) {
      path = "models[" + path.substr(kModels.size(), end - kModels.size()) + "]" + path.substr(end);
    }
  }
  return path;
}

void load_environment(std::span<const std::pair<std::string, std::string>> environment,
                      EffectiveConfig* config, std::vector<ConfigError>* errors) {
  std::vector<std::string> known;
  for (std::string path : config_leaf_paths()) {
    if (const size_t open = path.find("[]"); open != std::string::npos) {
      path.insert(open + 1, "0");
    }
    known.push_back(environment_name(path));
  }
  std::vector<std::pair<std::string, std::string>> sorted(environment.begin(), environment.end());
  std::sort(sorted.begin(), sorted.end());  // models[0] before models[1]
  for (const auto& [name, value] : sorted) {
    if (!name.starts_with("STET_") || is_foreign_variable(name)) {
      continue;
    }
    const Origin origin{Origin::Kind::kEnvironment, name};
    const std::string path = canonical_path(lower_path_of_variable(name));
    if (find_leaf(path) == nullptr || environment_name(path) != name) {
      const std::string best = nearest(name, known);
      errors->push_back({origin, ConfigErrorCode::kUnknownField,
                         "unknown variable '" + name + "'" +
                             (best.empty() ? "" : ": did you mean '" + best + "'?")});
      continue;
    }
    assign({.path = path, .value = value, .origin = origin, .name_origin = origin}, config, errors);
  }
}

// ---- defaults and rules between fields

void set_defaults(EffectiveConfig* config) {
  std::vector<ConfigError> errors;
  const Origin origin{Origin::Kind::kDefault, ""};
  for (const FieldRow& row : field_rows()) {
    if (row.fallback != nullptr) {
      assign({.path = row.path, .value = row.fallback, .origin = origin, .name_origin = origin},
             config, &errors);
    }
  }
  STET_CHECK(errors.empty(), errors.empty() ? "" : errors.front().message.c_str());
}

class CrossChecks {
 public:
  CrossChecks(const EffectiveConfig& config, std::vector<ConfigError>* errors)
      : config_(config), errors_(errors) {}

  void models() {
    const int num_models = config_.values.models_size();
    if (num_models == 0 || !config_.values.models(0).has_path()) {
      fail("models[0].path", ConfigErrorCode::kMissing,
           "models[0].path: not set; name a GGUF file: stetd --model FILE");
    }
    for (int i = 1; i < num_models; ++i) {
      const std::string path = "models[" + std::to_string(i) + "]";
      fail(path + (config_.values.models(i).has_path() ? ".path" : ".id"),
           ConfigErrorCode::kTooMany, path + ": exactly one model can be served at present");
    }
  }

  void eviction() {
    if (config_.values.kv().eviction() == "tail" &&
        config_.values.scheduler().ttft_target_ms() == 0) {
      fail("kv.eviction", ConfigErrorCode::kMissing,
           "kv.eviction = tail: evicts by the TTFT target; set scheduler.ttft_target_ms, at least "
           "1");
    }
  }

  void listeners() {
    const auto& listen = config_.values.listen();
    const bool auth_none = config_.values.auth().mode() == config::v1::AuthConfig::NONE;
    const std::pair<std::string, std::string> listeners[] = {
        {"listen.grpc", listen.grpc()},
        {"listen.openai", listen.openai()},
        {"listen.admin_grpc", admin_address(listen)},
    };
    for (const auto& [path, text] : listeners) {
      const std::optional<Address> address = parse_address(text);
      if (!address) {
        continue;  // empty, or reported already
      }
      if (!address->is_unix && address->port != 0 && !addresses_.emplace(text).second) {
        fail(path, ConfigErrorCode::kSameAddress,
             path + " = " + text + ": another listener has this address");
      }
      if (is_loopback(*address)) {
        continue;
      }
      if (path == "listen.admin_grpc") {
        fail(path, ConfigErrorCode::kExposed,
             path + " = " + text +
                 ": must be loopback or a socket: whoever reaches it can stop the daemon");
        continue;
      }
      if (!auth_none) {
        fail(path, ConfigErrorCode::kExposed,
             path + " = " + text +
                 ": not loopback, and there are no API keys: everybody who reaches it may use the "
                 "model. "
                 "Write auth { mode: NONE } if that is meant");
      }
      if (path == "listen.grpc" && !listen.grpc_exposed()) {
        fail(path, ConfigErrorCode::kExposed,
             path + " = " + text +
                 ": not loopback, and the gRPC of this build has known denial-of-service faults "
                 "(CVE-2023-33953, CVE-2023-44487). Put a proxy in front, or write listen { "
                 "grpc_exposed: true }");
      }
    }
  }

 private:
  void fail(const std::string& path, ConfigErrorCode code, std::string message) {
    const auto origin = config_.origins.find(path);
    errors_->push_back(
        {origin == config_.origins.end() ? Origin{} : origin->second, code, std::move(message)});
  }

  const EffectiveConfig& config_;
  std::vector<ConfigError>* errors_;
  std::set<std::string> addresses_;
};

}  // namespace

std::string admin_address(const config::v1::ListenConfig& listen) {
  const std::optional<Address> grpc = parse_address(listen.grpc());
  return listen.admin_grpc() != "auto" ? listen.admin_grpc()
         : grpc                        ? derived_admin_address(*grpc)
                                       : std::string{};
}

std::string Origin::position() const {
  switch (kind) {
    case Kind::kFile: return name + ":" + std::to_string(line) + ":" + std::to_string(column);
    case Kind::kDefault: return "stetd";
    case Kind::kEnvironment:
    case Kind::kFlag: break;
  }
  return name;
}

std::string Origin::comment() const {
  switch (kind) {
    case Kind::kDefault: return "default";
    case Kind::kFile: return name + ":" + std::to_string(line);
    case Kind::kEnvironment: return "env " + name;
    case Kind::kFlag: break;
  }
  return "flag " + name;
}

std::string ConfigError::to_string() const {
  const std::string number = std::to_string(static_cast<int>(code));
  return where.position() + ": error[CFG" +
         std::string(3 - std::min<size_t>(3, number.size()), '0') + number + "]: " + message;
}

bool CommandLine::usage_error() const {
  return std::any_of(errors.begin(), errors.end(), [](const ConfigError& error) {
    return error.code == ConfigErrorCode::kUsage;
  });
}

std::vector<std::string> config_leaf_paths() {
  std::vector<std::string> paths;
  collect_leaves(config::v1::Config::descriptor(), "", &paths);
  return paths;
}

CommandLine load_config(std::span<const std::string> args,
                        std::span<const std::pair<std::string, std::string>> environment) {
  CommandLine line;
  const Flags flags = parse_flags(args, &line.errors);
  line.action = flags.action;
  set_defaults(&line.config);
  for (const std::string& file : flags.config_files) {
    load_file(file, &line.config, &line.errors);
  }
  load_environment(environment, &line.config, &line.errors);
  const bool flag_names_model =
      std::any_of(flags.assignments.begin(), flags.assignments.end(),
                  [](const Assignment& a) { return a.origin.name == "--model"; });
  if (flag_names_model) {
    clear_models(&line.config);
  }
  for (const Assignment& assignment : flags.assignments) {
    assign(assignment, &line.config, &line.errors);
  }
  CrossChecks checks(line.config, &line.errors);
  checks.models();
  checks.listeners();
  checks.eviction();
  return line;
}

}  // namespace stet::daemon
