#include "src/daemon/known_names.h"

#include "stet/executor/kv_memory.h"
#include "stet/kernels/kernel_table.h"
#include "stet/kv/eviction.h"
#include "stet/sched/policy.h"

namespace stet::daemon {

std::vector<std::string> kernel_table_names() {
  std::vector<std::string> names;
  const kernels::TableList list = kernels::all_tables();
  for (size_t i = 0; i < list.num; ++i) {
    names.emplace_back(list.tables[i]->name);
  }
  return names;
}

std::vector<std::string> policy_names() {
  const std::vector<std::string_view> names = sched::policy_names();
  return {names.begin(), names.end()};
}

std::vector<std::string> kv_mode_names() {
  return {executor::kv_mode_name(executor::KvMode::kPaged),
          executor::kv_mode_name(executor::KvMode::kVirtual)};
}

std::vector<std::string> eviction_names() {
  std::vector<std::string> names;
  for (const kv::Eviction eviction : kv::all_evictions()) {
    names.emplace_back(kv::eviction_name(eviction));
  }
  return names;
}

}  // namespace stet::daemon
