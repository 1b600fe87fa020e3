// The models of the suite: tiny seeded ones, made anew by every run, and the real one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "stet/model/model.h"

namespace stet::exactness {

// "llama_q4_1", "gemma3_q8_0", ...: every architecture, every weight type at least once.
std::vector<std::string> tiny_model_names();
std::shared_ptr<const model::Model> tiny_model(const std::string& name);
// STET_TEST_MODEL, or models/ of the source tree. Null, with the reason in *why, if it is not
// there.
std::shared_ptr<const model::Model> real_model(std::string* why);

}  // namespace stet::exactness
