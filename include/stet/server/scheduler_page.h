// GET /debug/scheduler: the last steps and where the engine stands, as JSON.
#pragma once

#include <string>

namespace stet::server {

class Service;

// Thread-safe. Before a model is served: no steps.
std::string scheduler_page(const Service& service);

}  // namespace stet::server
