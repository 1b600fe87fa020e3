#include "stet/executor/cpu_topology.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/executor/cgroup_files.h"

namespace stet::executor {
namespace {

uint32_t count_affinity_cpus() {
  // The kernel refuses a mask shorter than its own, so grow until it fits.
  for (size_t cpus = 1024; cpus <= size_t{1} << 20; cpus *= 2) {
    std::vector<unsigned char> storage(CPU_ALLOC_SIZE(cpus));
    auto* mask = reinterpret_cast<cpu_set_t*>(storage.data());
    if (sched_getaffinity(0, storage.size(), mask) == 0) {
      return static_cast<uint32_t>(std::max(1, CPU_COUNT_S(storage.size(), mask)));
    }
  }
  return 1;
}

}  // namespace

uint32_t CpuBudget::usable() const {
  uint32_t usable = std::max(affinity_cpus, 1u);
  if (quota_cpus) {
    const double whole = std::max(1.0, std::ceil(*quota_cpus));
    usable = whole < usable ? static_cast<uint32_t>(whole) : usable;
  }
  return usable;
}

CpuBudget read_cpu_budget(const std::string& root, uint32_t affinity_cpus) {
  CpuBudget budget;
  budget.affinity_cpus = affinity_cpus != 0 ? affinity_cpus : count_affinity_cpus();
  auto consider = [&](uint64_t quota, uint64_t period, const std::string& file) {
    if (quota == 0 || period == 0) {
      return;
    }
    const double cpus = static_cast<double>(quota) / static_cast<double>(period);
    if (!budget.quota_cpus || cpus < *budget.quota_cpus) {
      budget.quota_cpus = cpus;
      budget.quota_source = file;
    }
  };
  // v2: "max 100000" or "150000 100000".
  for_each_cgroup(root, "", [&](const std::string& folder) {
    const std::string file = folder + "/cpu.max";
    const std::string text = read_small_file(file).value_or("");
    const size_t space = text.find(' ');
    if (space == std::string::npos) {
      return;
    }
    const auto quota = parse_number(text.substr(0, space));  // nothing for "max"
    const auto period = parse_number(text.substr(space + 1));
    if (quota && period) {
      consider(*quota, *period, file);
    }
  });
  // v1: -1 is no quota, which is no unsigned number.
  for_each_cgroup(root, "cpu", [&](const std::string& folder) {
    const std::string file = folder + "/cpu.cfs_quota_us";
    const auto quota = parse_number(read_small_file(file).value_or(""));
    const auto period = parse_number(read_small_file(folder + "/cpu.cfs_period_us").value_or(""));
    if (quota && period) {
      consider(*quota, *period, file);
    }
  });
  return budget;
}

}  // namespace stet::executor
