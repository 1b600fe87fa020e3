// Protobuf text format -> assignments, each with the line and column of its value.
//
// Our own walk over protobuf's tokenizer, not TextFormat::Parser: that one stops at the first wrong
// value, and says the position of the token after it for enum values. A test holds both to the same
// result on every file of configs/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/daemon/config_assign.h"

namespace stet::daemon {

// Appends what `text` sets and what is wrong in it. A syntax error ends the file; everything before
// it is reported.
void parse_config_text(const std::string& file_name, std::string_view text,
                       std::vector<Assignment>* assignments, std::vector<ConfigError>* errors);

}  // namespace stet::daemon
