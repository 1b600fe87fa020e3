// CPU budget and memory limit on made-up machines.
#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>

#include "stet/executor/cpu_topology.h"
#include "stet/executor/memory_plan.h"

namespace stet::executor {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

// A folder that stands for "/".
class FakeRoot : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "stet_root_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    write("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 5 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  MemoryLimit limit() {
    auto result = read_memory_limit(root_);
    EXPECT_TRUE(result.ok()) << result.status().to_string();
    return *result;
  }
  std::string root_;
};

TEST_F(FakeRoot, WithoutCgroupsTheMaskAndTheMachineDecide) {
  const CpuBudget budget = read_cpu_budget(root_, 6);
  EXPECT_EQ(budget.usable(), 6u);
  EXPECT_FALSE(budget.quota_cpus.has_value());
  EXPECT_EQ(limit().bytes, 16 * kGiB);
  EXPECT_EQ(limit().source, root_ + "/proc/meminfo");
}

TEST_F(FakeRoot, Version2TakesTheSmallestOfAllAncestors) {
  write("/proc/self/cgroup", "0::/kube/pod/box\n");
  write("/sys/fs/cgroup/kube/cpu.max", "150000 100000\n");
  write("/sys/fs/cgroup/kube/memory.max", "4294967296\n");
  write("/sys/fs/cgroup/kube/pod/box/cpu.max", "max 100000\n");
  write("/sys/fs/cgroup/kube/pod/box/memory.max", "max\n");
  write("/sys/fs/cgroup/kube/pod/memory.high", "3221225472\n");
  const CpuBudget budget = read_cpu_budget(root_, 8);
  EXPECT_EQ(budget.quota_cpus, 1.5);
  EXPECT_EQ(budget.usable(), 2u);
  EXPECT_EQ(budget.quota_source, root_ + "/sys/fs/cgroup/kube/cpu.max");
  EXPECT_EQ(limit().bytes, 3 * kGiB);
  EXPECT_EQ(limit().source, root_ + "/sys/fs/cgroup/kube/pod/memory.high");
}

TEST_F(FakeRoot, Version1ReadsQuotaAndLimitAndIgnoresItsNoLimit) {
  write("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/box/a\n3:cpu,cpuacct:/box/a\n0::/\n");
  write("/sys/fs/cgroup/cpu/box/a/cpu.cfs_quota_us", "250000\n");
  write("/sys/fs/cgroup/cpu/box/a/cpu.cfs_period_us", "100000\n");
  write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  write("/sys/fs/cgroup/memory/box/a/memory.limit_in_bytes", "2147483648\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(read_cpu_budget(root_, 8).usable(), 3u);
  EXPECT_EQ(limit().bytes, 2 * kGiB);
  write("/sys/fs/cgroup/memory/box/a/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(limit().bytes, 16 * kGiB);
}

TEST_F(FakeRoot, InAContainerTheMountItselfIsReadWhenThePathIsNotVisible) {
  write("/proc/self/cgroup", "4:memory:/docker/0123\n3:cpu:/docker/0123\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
  write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
  write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(limit().bytes, kGiB);
  EXPECT_EQ(read_cpu_budget(root_, 4).usable(), 1u);
}

TEST_F(FakeRoot, DamagedFilesCountAsAbsent) {
  write("/proc/self/cgroup", "garbage\n0:\n:\n");
  write("/sys/fs/cgroup/cpu.max", "100000\n");
  write("/sys/fs/cgroup/memory.max", "12x\n");
  EXPECT_EQ(read_cpu_budget(root_, 4).usable(), 4u);
  EXPECT_EQ(limit().bytes, 16 * kGiB);
  std::filesystem::remove(root_ + "/proc/meminfo");
  EXPECT_FALSE(read_memory_limit(root_).ok());
}

TEST(CpuBudget, OfThisProcessFollowsItsAffinityMask) {
  cpu_set_t old;
  ASSERT_EQ(sched_getaffinity(0, sizeof old, &old), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &old)) {
      CPU_SET(cpu, &one);
    }
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(read_cpu_budget().affinity_cpus, 1u);
  ASSERT_EQ(sched_setaffinity(0, sizeof old, &old), 0);
  EXPECT_EQ(read_cpu_budget().affinity_cpus, static_cast<uint32_t>(CPU_COUNT(&old)));
}

MemoryPlanInput smol() {
  MemoryPlanInput input;
  input.limit = {4 * kGiB, "test"};
  input.weight_bytes = 100 << 20;
  input.reserves = {{"scratch", 20 << 20}, {"text and I/O", 40 << 20}};
  input.kv_bytes_per_token = 23040;
  input.context_tokens = 8192;
  return input;
}

TEST(MemoryPlan, AutoPoolIsFourContextsWhenThereIsRoom) {
  const auto plan = plan_memory(smol());
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  EXPECT_EQ(plan->num_blocks, 4u * 8192 / 64);
  EXPECT_EQ(plan->max_model_len, 8192u);
  EXPECT_FALSE(plan->max_model_len_shrunk);
  EXPECT_EQ(plan->total_bytes, (uint64_t{160} << 20) + uint64_t{23040} * 4 * 8192);
  const std::string table = plan->table();
  for (const char* part :
       {"weights", "100.0 MiB", "KV pool", "720.0 MiB", "scratch", "text and I/O", "from test"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  }
}

TEST(MemoryPlan, AutoPoolIsHalfOfWhatIsLeftWhenMemoryIsShort) {
  MemoryPlanInput input = smol();
  input.limit.bytes = 512 << 20;
  const auto plan = plan_memory(input);
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  const uint64_t left = (uint64_t{512} << 20) - (uint64_t{512} << 20) / 20 - (uint64_t{160} << 20);
  EXPECT_EQ(plan->num_blocks, left / 2 / (23040 * 64));
  EXPECT_EQ(plan->max_model_len, plan->num_blocks * 64);
  EXPECT_TRUE(plan->max_model_len_shrunk);
}

// Virtual KV: padding and page tables are planned, and the pool is as much smaller.
TEST(MemoryPlan, MappingHasItsRow) {
  MemoryPlanInput input = smol();
  input.limit.bytes = 512 << 20;
  input.kv_mapping_bytes_per_block = uint64_t{1} << 20;
  const auto plan = plan_memory(input);
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  const uint64_t left = (uint64_t{512} << 20) - (uint64_t{512} << 20) / 20 - (uint64_t{160} << 20);
  EXPECT_EQ(plan->num_blocks, left / 2 / (23040 * 64 + (1 << 20)));
  ASSERT_EQ(plan->rows[2].name, "KV mapping");
  EXPECT_EQ(plan->rows[2].bytes, uint64_t{plan->num_blocks} << 20);
  EXPECT_EQ(plan_memory(smol())->rows[2].name, "scratch") << "paged: no such row";
}

TEST(MemoryPlan, AnExplicitLengthThatThePoolCannotHoldIsRefusedWithBothNumbers) {
  MemoryPlanInput input = smol();
  input.max_model_len = 8192;
  input.kv_tokens = 4096;
  const auto plan = plan_memory(input);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(plan.status().message().find("max_model_len 8192"), std::string::npos);
  EXPECT_NE(plan.status().message().find("4096 tokens"), std::string::npos);
}

TEST(MemoryPlan, AnExplicitLengthGetsAPoolThatHoldsIt) {
  MemoryPlanInput input = smol();
  input.limit.bytes = 512 << 20;  // half of what is left would be 7 000 tokens
  input.max_model_len = 8192;
  const auto plan = plan_memory(input);
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  EXPECT_EQ(plan->max_model_len, 8192u);
}

TEST(MemoryPlan, WhatDoesNotFitIsRefusedWithWhatWould) {
  MemoryPlanInput input = smol();
  input.limit.bytes = 256 << 20;
  input.kv_tokens = 100000;
  const auto plan = plan_memory(input);
  ASSERT_FALSE(plan.ok());
  const uint64_t left = (uint64_t{256} << 20) - (uint64_t{256} << 20) / 20 - (uint64_t{160} << 20);
  const std::string fits = std::to_string(left / (23040 * 64) * 64) + " tokens";
  EXPECT_NE(plan.status().message().find(fits), std::string::npos) << plan.status().message();
  EXPECT_NE(plan.status().message().find("weights"), std::string::npos);
}

TEST(MemoryPlan, WeightsAloneBeyondTheLimitAreRefused) {
  MemoryPlanInput input = smol();
  input.limit.bytes = 64 << 20;
  EXPECT_EQ(plan_memory(input).status().code(), StatusCode::kResourceExhausted);
}

TEST(MemoryPlan, TheConfiguredBudgetIsALimitOfItsOwn) {
  MemoryPlanInput input = smol();
  input.budget_bytes = 300 << 20;
  const auto plan = plan_memory(input);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->limit.source, "memory.budget");
  EXPECT_LE(plan->total_bytes, plan->usable_bytes);
}

}  // namespace
}  // namespace stet::executor
