#include "stet/executor/memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <sstream>

#include "src/executor/cgroup_files.h"

namespace stet::executor {
namespace {

// On cgroup v1 "no limit" is the largest multiple of the page size below 2^63.
constexpr uint64_t kNoLimit = uint64_t{1} << 62;
constexpr uint64_t kAutoContexts = 4;  // KV auto: this many contexts

std::optional<uint64_t> read_physical_bytes(const std::string& root) {
  std::stringstream lines(read_small_file(root + "/proc/meminfo").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "MemTotal: %llu kB", &kib) == 1) {
      return uint64_t{kib} * 1024;
    }
  }
  return std::nullopt;
}

std::string refusal(const MemoryPlan& plan, const std::string& what) {
  return what + "\n" + plan.table();
}

uint64_t sum_of(const std::vector<MemoryRow>& rows) {
  uint64_t sum = 0;
  for (const MemoryRow& row : rows) {
    sum += row.bytes;
  }
  return sum;
}

}  // namespace

std::string format_bytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1024.0 && unit < 6; ++unit) {
    value /= 1024.0;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

Result<MemoryLimit> read_memory_limit(const std::string& root) {
  const std::optional<uint64_t> physical = read_physical_bytes(root);
  if (!physical) {
    return failed_precondition("no MemTotal in " + root +
                               "/proc/meminfo: the machine's memory is unknown");
  }
  MemoryLimit limit{*physical, root + "/proc/meminfo"};
  auto consider = [&](const std::string& file) {
    const auto bytes = parse_number(read_small_file(file).value_or(""));  // nothing for "max"
    if (bytes && *bytes < kNoLimit && *bytes < limit.bytes) {
      limit = {*bytes, file};
    }
  };
  for_each_cgroup(root, "", [&](const std::string& folder) {
    consider(folder + "/memory.max");
    consider(folder + "/memory.high");
  });
  for_each_cgroup(root, "memory",
                  [&](const std::string& folder) { consider(folder + "/memory.limit_in_bytes"); });
  return limit;
}

std::string MemoryPlan::table() const {
  std::string text;
  char line[192];
  auto add = [&](const char* name, uint64_t bytes, const std::string& note) {
    std::snprintf(line, sizeof line, "  %-24.24s %12s%s\n", name, format_bytes(bytes).c_str(),
                  note.c_str());
    text += line;
  };
  for (const MemoryRow& row : rows) {
    add(row.name.c_str(), row.bytes, "");
  }
  add("sum", total_bytes, "");
  add("usable (0.95 of limit)", usable_bytes, "");
  add("limit", limit.bytes, "  from " + limit.source);
  return text;
}

Result<MemoryPlan> plan_memory(const MemoryPlanInput& input) {
  if (input.kv_bytes_per_token == 0 || input.block_tokens == 0 || input.context_tokens == 0) {
    return invalid_argument(
        "a memory plan needs the KV bytes per token, the block size and the model's context");
  }
  MemoryPlan plan;
  plan.limit = input.limit;
  if (input.budget_bytes != 0 && input.budget_bytes < plan.limit.bytes) {
    plan.limit = {input.budget_bytes, "memory.budget"};
  }
  plan.usable_bytes = plan.limit.bytes - plan.limit.bytes / 20;
  plan.block_tokens = input.block_tokens;
  const uint64_t kv_block_bytes = input.kv_bytes_per_token * input.block_tokens;
  const uint64_t block_bytes = kv_block_bytes + input.kv_mapping_bytes_per_block;
  const uint64_t fixed = input.weight_bytes + sum_of(input.reserves);
  const uint64_t left = plan.usable_bytes > fixed ? plan.usable_bytes - fixed : 0;
  const uint64_t most_blocks = left / block_bytes;

  auto blocks_for = [&](uint64_t tokens) {
    return (tokens + input.block_tokens - 1) / input.block_tokens;
  };
  uint64_t blocks =
      input.kv_tokens != 0
          ? blocks_for(input.kv_tokens)
          : std::min(blocks_for(kAutoContexts * input.context_tokens), left / 2 / block_bytes);
  const uint32_t wanted_len = input.max_model_len != 0
                                  ? std::min(input.max_model_len, input.context_tokens)
                                  : input.context_tokens;
  if (input.kv_tokens == 0 && input.max_model_len != 0) {
    // An explicit length is a wish for a pool that holds it.
    blocks = std::max(blocks, std::min(blocks_for(wanted_len), most_blocks));
  }
  plan.num_blocks = static_cast<uint32_t>(std::min<uint64_t>(blocks, UINT32_MAX));
  plan.rows.push_back({"weights", input.weight_bytes});
  plan.rows.push_back({"KV pool", plan.num_blocks * kv_block_bytes});
  if (input.kv_mapping_bytes_per_block != 0) {
    plan.rows.push_back({"KV mapping", plan.num_blocks * input.kv_mapping_bytes_per_block});
  }
  plan.rows.insert(plan.rows.end(), input.reserves.begin(), input.reserves.end());
  plan.total_bytes = sum_of(plan.rows);
  const uint64_t pool_tokens = uint64_t{plan.num_blocks} * input.block_tokens;
  plan.max_model_len = static_cast<uint32_t>(std::min<uint64_t>(wanted_len, pool_tokens));
  plan.max_model_len_shrunk = plan.max_model_len < wanted_len;

  const std::string would_fit =
      "; the largest KV pool that fits is " + std::to_string(most_blocks * input.block_tokens) +
      " tokens (" + format_bytes(most_blocks * block_bytes) + "), the largest model length " +
      std::to_string(std::min<uint64_t>(input.context_tokens, most_blocks * input.block_tokens));
  if (plan.total_bytes > plan.usable_bytes || plan.num_blocks == 0) {
    const uint64_t needed = std::max(plan.total_bytes, fixed + block_bytes);
    return resource_exhausted(refusal(plan, "memory plan: " + format_bytes(needed) + " needed, " +
                                                format_bytes(plan.usable_bytes) + " usable" +
                                                would_fit));
  }
  if (input.max_model_len != 0 && plan.max_model_len_shrunk) {
    return resource_exhausted(
        refusal(plan, "memory plan: max_model_len " + std::to_string(wanted_len) +
                          " does not fit into a KV pool of " + std::to_string(pool_tokens) +
                          " tokens" + would_fit));
  }
  return plan;
}

}  // namespace stet::executor
