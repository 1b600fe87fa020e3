// Flags that chat and complete share. Ranges are the daemon's to check: its errors name the field
// and the range.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}
namespace stet::v1 {
class SamplingParams;
class StopParams;
}  // namespace stet::v1

namespace stet::cli {

struct SamplingFlags {
  std::string model;
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<uint32_t> top_k, max_tokens;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  bool quiet = false;  // no figures at the end

  void add_to(CLI::App* app);
  void apply(v1::SamplingParams* sampling, v1::StopParams* stop_params) const;
};

}  // namespace stet::cli
