// How many CPUs this process may use: affinity mask and cgroup quota, v1 and v2 (operations.md sec.
// 5).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace stet::executor {

struct CpuBudget {
  uint32_t affinity_cpus = 1;  // CPUs of the affinity mask
  std::optional<double>
      quota_cpus;            // quota / period, the smallest of all ancestors; none = no quota
  std::string quota_source;  // the file that set it, for the log
  // min(affinity, ceil(quota)), at least 1: the number of compute threads.
  uint32_t usable() const;
};

// `root` stands in front of /proc and /sys: tests give a folder, the product "".
// `affinity_cpus` = 0 asks the kernel for this process's mask.
CpuBudget read_cpu_budget(const std::string& root = "", uint32_t affinity_cpus = 0);

}  // namespace stet::executor
