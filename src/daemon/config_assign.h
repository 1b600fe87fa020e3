// One written value on its way into the configuration: from a file, the environment or a flag, all
// by the same code.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "stet/daemon/config.h"

namespace google::protobuf {
class FieldDescriptor;
}

namespace stet::daemon {

struct Assignment {
  // How the value was spelled. kText: a flag or a variable, which has no types of its own.
  enum class Form { kText, kString, kIdentifier, kNumber };
  std::string path{};   // "kv.tokens", "models[0].path"
  std::string value{};  // strings: unescaped
  Form form = Form::kText;
  Origin origin{};       // where the value stands: for errors about it
  Origin name_origin{};  // where the name stands: for errors about the path, and for print-config
};

// The leaf field `path` names, or null. `path` must have its indices ("models[0].path").
const google::protobuf::FieldDescriptor* find_leaf(std::string_view path);

// Converts, checks against the table and sets. On an error appends it and leaves every value as it
// was.
void assign(const Assignment& assignment, EffectiveConfig* config,
            std::vector<ConfigError>* errors);
void clear_models(EffectiveConfig* config);

// Text of a file or a flag as an error shows it: one line, 200 bytes at most.
std::string shown_text(std::string_view text);

// "unknown field 'kv.blok_tokens': did you mean 'kv.block_tokens'?"
std::string unknown_field_message(std::string_view path);

}  // namespace stet::daemon
