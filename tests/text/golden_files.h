// Reads the recorded answers of tests/golden/text.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "stet/text/tokenizer.h"

namespace stet::text {

nlohmann::json read_golden(
    const std::string& name);  // aborts the test binary with a message if it is missing
TokenizerSpec tiny_spec(const nlohmann::json& golden, const std::string& pre);

}  // namespace stet::text
