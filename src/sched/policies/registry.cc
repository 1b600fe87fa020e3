// The policies there are. A line here is all the wiring a new one needs.
#include <string>

#include "src/sched/policies/policies.h"

namespace stet::sched {
namespace {

struct Registered {
  std::string_view name;
  Policy (*make)();
};
constexpr Registered kPolicies[] = {
    {"fcfs_conservative", fcfs_conservative},
    {"aggressive", aggressive},
    {"past_future", past_future},
    {"past_future_sampled", past_future_sampled},
    {"prefix_group", prefix_group},
    {"sla", sla},
};

}  // namespace

Result<Policy> make_policy(std::string_view name) {
  std::string known;
  for (const Registered& policy : kPolicies) {
    if (policy.name == name) {
      return policy.make();
    }
    known += (known.empty() ? "" : ", ") + std::string(policy.name);
  }
  return invalid_argument("policy '" + std::string(name) +
                          "' does not exist; expected one of: " + known);
}

std::vector<std::string_view> policy_names() {
  std::vector<std::string_view> names;
  for (const Registered& policy : kPolicies) {
    names.push_back(policy.name);
  }
  return names;
}

}  // namespace stet::sched
