#include "src/daemon/config_table.h"

#include <algorithm>
#include <cctype>
#include <numeric>

#include "src/daemon/known_names.h"

namespace stet::daemon {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr uint64_t kHourMs = 3'600'000;

constexpr FieldRow kRows[] = {
    {.path = "models[].id",
     .fallback = nullptr,
     .rule = ValueRule::kModelId,
     .doc = "Name clients use. Not set: the file's stem."},
    {.path = "models[].path",
     .fallback = nullptr,
     .rule = ValueRule::kPath,
     .doc = "GGUF file to serve."},

    {.path = "listen.grpc",
     .fallback = "127.0.0.1:50051",
     .rule = ValueRule::kAddress,
     .doc = "gRPC listener, host:port or unix:path. Port 0 takes any free port."},
    {.path = "listen.openai",
     .fallback = "127.0.0.1:8000",
     .rule = ValueRule::kTcpAddressOrEmpty,
     .doc = "OpenAI-compatible HTTP listener, host:port. Empty: none."},
    {.path = "listen.admin_grpc",
     .fallback = "auto",
     .rule = ValueRule::kAdminAddress,
     .doc =
         "gRPC AdminService, host:port or unix:path; loopback or a socket only. auto: 127.0.0.1 "
         "and the port after that of listen.grpc (0 after 0), or that socket's path with .admin. "
         "Empty: none."},
    {.path = "listen.grpc_exposed",
     .fallback = "false",
     .doc = "Permits a gRPC listener that is not loopback. This build's gRPC has known "
            "denial-of-service faults: put a "
            "proxy in front of it, or expose it to trusted networks only."},
    {.path = "listen.reflection", .fallback = "true", .doc = "gRPC server reflection."},

    {.path = "kv.tokens",
     .fallback = "0",
     .min = 64,
     .max = uint64_t{1} << 32,
     .zero_allowed = true,
     .doc = "Positions the KV pool holds, rounded up to blocks. 0: min(4 x context, half of the "
            "memory left)."},
    {.path = "kv.block_tokens",
     .fallback = "64",
     .min = 64,
     .max = 512,
     .multiple_of = 64,
     .doc = "Positions per KV block. Never changes output."},
    {.path = "kv.prefix_cache",
     .fallback = "true",
     .doc = "Reuses KV blocks of equal prefixes. Never changes output."},
    {.path = "kv.memory",
     .fallback = "paged",
     .rule = ValueRule::kKvMode,
     .doc = "How a sequence finds its KV blocks. paged: a table of blocks over one pool on huge "
            "pages. virtual: blocks mapped side by side under one address range per sequence, the "
            "whole pool written at start; where the system refuses a map, that sequence is paged. "
            "Never changes output."},
    {.path = "kv.eviction",
     .fallback = "future",
     .rule = ValueRule::kEviction,
     .doc = "Which cached block that nobody holds is given up first. lru: the least recently "
            "released. priority: of the least urgent priority class that has used it, then lru. "
            "cost: the least reuse rate x time to compute it again. ttl: one kept for a follow-up "
            "that did not come in time, then lru. tail: the end of a chain that is computed again "
            "within half of scheduler.ttft_target_ms (which must be set), then lru. future: one "
            "that no waiting request will use, then lru; then the one used last in the order of "
            "the queue. Never changes output."},

    {.path = "compute.threads",
     .fallback = "0",
     .min = 1,
     .max = 1024,
     .zero_allowed = true,
     .doc = "Compute threads. 0: CPUs of the affinity mask and the cgroup quota. Never changes "
            "output."},
    {.path = "compute.isa",
     .fallback = "auto",
     .rule = ValueRule::kIsa,
     .doc = "Kernel table. auto: the best the CPU supports. Never changes output."},

    {.path = "scheduler.policy",
     .fallback = "past_future",
     .rule = ValueRule::kPolicy,
     .doc = "Order, admission and victims. Never changes output."},
    {.path = "scheduler.max_step_tokens",
     .fallback = "512",
     .min = 1,
     .max = 65536,
     .doc = "Positions computed in one step: the token budget. Scratch memory grows with it."},
    {.path = "scheduler.max_running",
     .fallback = "64",
     .min = 1,
     .max = 4096,
     .doc = "Sequences that may run at once."},
    {.path = "scheduler.chunk_cap",
     .fallback = "0",
     .min = 1,
     .max = 65536,
     .zero_allowed = true,
     .doc = "Largest prefill chunk of one sequence in a step. 0: the token budget."},
    {.path = "scheduler.max_queued_requests",
     .fallback = "256",
     .min = 1,
     .max = 1'000'000,
     .doc = "Requests that may wait; more are refused with queue_full."},
    {.path = "scheduler.max_queued_prompt_tokens",
     .fallback = "0",
     .min = 1,
     .max = uint64_t{1} << 40,
     .zero_allowed = true,
     .doc = "Prompt tokens that may wait. 0: 4 x what the KV pool holds."},
    {.path = "scheduler.queue_timeout_ms",
     .fallback = "60000",
     .min = 1,
     .max = kHourMs,
     .doc = "A request that waited this long ends with queue_timeout."},
    {.path = "scheduler.ttft_target_ms",
     .fallback = "0",
     .min = 0,
     .max = kHourMs,
     .doc = "First token after so long, for requests that name no target of their own. 0: none."},
    {.path = "scheduler.itl_target_ms",
     .fallback = "0",
     .min = 0,
     .max = kHourMs,
     .doc = "Longest gap between two tokens, for requests that name no target of their own: steps "
            "are cut to what is predicted to keep it, but never below 64 positions of prefill. "
            "0: none."},
    {.path = "scheduler.short_first_percent",
     .fallback = "25",
     .min = 0,
     .max = 50,
     .doc = "Share of a step's prefill positions that goes to the shortest prompts when several "
            "wait."},

    {.path = "limits.max_n",
     .fallback = "8",
     .min = 1,
     .max = 128,
     .doc = "Largest n of a request."},
    {.path = "limits.max_logprobs",
     .fallback = "20",
     .min = 0,
     .max = 20,
     .doc = "Alternatives per token a request may ask for."},
    {.path = "limits.max_stop_strings",
     .fallback = "16",
     .min = 0,
     .max = 16,
     .doc = "Stop strings of a request."},
    {.path = "limits.max_stop_bytes",
     .fallback = "256",
     .min = 1,
     .max = 256,
     .doc = "Bytes of one stop string."},
    {.path = "limits.max_logit_bias",
     .fallback = "1024",
     .min = 0,
     .max = 1024,
     .doc = "Entries of logit_bias."},
    {.path = "limits.max_output_tokens",
     .fallback = "0",
     .min = 1,
     .max = uint64_t{1} << 31,
     .zero_allowed = true,
     .doc = "Default and cap of max_tokens. 0: the model length."},
    {.path = "limits.max_messages",
     .fallback = "1024",
     .min = 1,
     .max = 65536,
     .doc = "Messages of a chat request."},
    {.path = "limits.max_request_bytes",
     .fallback = "4194304",
     .min = 1024,
     .max = 1024 * kMebibyte,
     .doc = "Largest gRPC message and HTTP body."},
    {.path = "limits.max_request_seconds",
     .fallback = "3600",
     .min = 1,
     .max = 604'800,
     .doc = "No request runs longer, whatever deadline it names."},
    {.path = "limits.max_json_depth",
     .fallback = "32",
     .min = 4,
     .max = 1024,
     .doc = "Nesting of a JSON body."},
    {.path = "limits.max_header_bytes",
     .fallback = "16384",
     .min = 1024,
     .max = kMebibyte,
     .doc = "HTTP header list."},
    {.path = "limits.max_metadata_bytes",
     .fallback = "8192",
     .min = 1024,
     .max = kMebibyte,
     .doc = "gRPC metadata of a call."},
    {.path = "limits.max_connections",
     .fallback = "1024",
     .min = 1,
     .max = 1'000'000,
     .doc = "Open HTTP connections."},
    {.path = "limits.max_connections_per_peer",
     .fallback = "64",
     .min = 1,
     .max = 1'000'000,
     .doc = "Open HTTP connections of one peer address."},
    {.path = "limits.max_streams_per_connection",
     .fallback = "100",
     .min = 1,
     .max = 65536,
     .doc = "Concurrent calls on one gRPC connection."},
    {.path = "limits.header_timeout_ms",
     .fallback = "10000",
     .min = 1,
     .max = kHourMs,
     .doc = "Time to the end of the HTTP header."},
    {.path = "limits.body_timeout_ms",
     .fallback = "15000",
     .min = 1,
     .max = kHourMs,
     .doc = "Longest pause inside an HTTP body."},
    {.path = "limits.idle_timeout_ms",
     .fallback = "75000",
     .min = 1,
     .max = kHourMs,
     .doc = "Idle keep-alive connections are closed after it."},
    {.path = "limits.slow_reader_ms",
     .fallback = "60000",
     .min = 1,
     .max = kHourMs,
     .doc = "A client that takes nothing for this long loses its stream."},

    {.path = "http.unknown_fields",
     .fallback = "REJECT",
     .doc = "Unknown fields of an OpenAI request: REJECT answers 400, WARN answers the request and "
            "names them in `stet-warning`."},
    {.path = "http.first_byte_wait_ms",
     .fallback = "15000",
     .min = 0,
     .max = kHourMs,
     .doc = "How long the status line of a stream waits for the first token, so that a failure "
            "still has a status."},
    {.path = "http.keep_alive_comment_ms",
     .fallback = "15000",
     .min = 10,
     .max = kHourMs,
     .doc = "Idle streams get a comment line this often."},

    {.path = "drain.announce_ms",
     .fallback = "0",
     .min = 0,
     .max = kHourMs,
     .doc = "After SIGTERM: not ready, but still accepting for this long, so that routers notice. "
            "5000 behind a router."},
    {.path = "drain.timeout_ms",
     .fallback = "120000",
     .min = 0,
     .max = 24 * kHourMs,
     .doc = "Accepted work may run this long; what is left ends with drain_timeout and the exit "
            "code is 75."},

    {.path = "memory.budget_bytes",
     .fallback = "0",
     .min = 16 * kMebibyte,
     .max = uint64_t{1} << 50,
     .zero_allowed = true,
     .doc = "Upper bound of the memory plan. 0: physical memory and cgroup limits alone."},

    {.path = "watchdog.stall_ms",
     .fallback = "30000",
     .min = 100,
     .max = kHourMs,
     .doc = "Not live when work is pending and no step has finished for this long."},

    {.path = "log.level", .fallback = "INFO", .doc = "Least severe level written to stderr."},
    {.path = "log.format",
     .fallback = "AUTO",
     .doc = "AUTO: sentences on a terminal, JSON lines elsewhere."},

    {.path = "metrics.public", .fallback = "true", .doc = "GET /metrics on the OpenAI listener."},

    {.path = "auth.mode",
     .fallback = nullptr,
     .doc = "NONE must be written, as a sign that it is meant, before a listener may leave "
            "loopback: there are no keys yet."},
};

constexpr ShortFlag kShortFlags[] = {
    {"--model", "models[0].path", "FILE"},
    {"--grpc", "listen.grpc", "ADDRESS"},
    {"--openai", "listen.openai", "ADDRESS"},
    {"--kv-tokens", "kv.tokens", "N"},
    {"--kv", "kv.memory", "NAME"},
    {"--threads", "compute.threads", "N"},
    {"--isa", "compute.isa", "NAME"},
    {"--max-step-tokens", "scheduler.max_step_tokens", "N"},
    {"--max-running", "scheduler.max_running", "N"},
    {"--prefix-cache", "kv.prefix_cache", "BOOL"},
    {"--policy", "scheduler.policy", "NAME"},
};

// Levenshtein with one row; words here are short.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::span<const FieldRow> field_rows() {
  return kRows;
}
std::span<const ShortFlag> short_flags() {
  return kShortFlags;
}

std::string without_indices(std::string_view path) {
  std::string out;
  bool inside = false;
  for (const char c : path) {
    if (c == ']') {
      inside = false;
    }
    if (!inside) {
      out.push_back(c);
    }
    if (c == '[') {
      inside = true;
    }
  }
  return out;
}

const FieldRow* find_row(std::string_view path) {
  const std::string plain = without_indices(path);
  for (const FieldRow& row : kRows) {
    if (plain == row.path) {
      return &row;
    }
  }
  return nullptr;
}

std::string range_text(const FieldRow& row) {
  if (row.rule == ValueRule::kModelId) {
    return "1 to 128 of [A-Za-z0-9._:/-]";
  }
  if (row.rule == ValueRule::kAddress) {
    return "host:port or unix:path";
  }
  if (row.rule == ValueRule::kAdminAddress) {
    return "host:port, unix:path, auto or empty";
  }
  if (row.rule == ValueRule::kTcpAddressOrEmpty) {
    return "host:port or empty";
  }
  if (row.rule == ValueRule::kPath) {
    return "not empty";
  }
  if (row.rule == ValueRule::kIsa || row.rule == ValueRule::kPolicy ||
      row.rule == ValueRule::kKvMode || row.rule == ValueRule::kEviction) {
    std::string names;
    for (const std::string& name : allowed_names(row.rule)) {
      names += (names.empty() ? "" : ", ") + name;
    }
    return "one of " + names;
  }
  if (row.max == UINT64_MAX) {
    return "";
  }
  std::string text = row.zero_allowed ? "0 or " : "";
  if (row.multiple_of > 1) {
    text += "a multiple of " + std::to_string(row.multiple_of) + " ";
  }
  return text + "in [" + std::to_string(row.min) + ", " + std::to_string(row.max) + "]";
}

std::vector<std::string> allowed_names(ValueRule rule) {
  if (rule == ValueRule::kIsa) {
    std::vector<std::string> names = kernel_table_names();
    names.insert(names.begin(), "auto");
    return names;
  }
  if (rule == ValueRule::kKvMode) {
    return kv_mode_names();
  }
  if (rule == ValueRule::kEviction) {
    return eviction_names();
  }
  return rule == ValueRule::kPolicy ? policy_names() : std::vector<std::string>{};
}

std::string environment_name(std::string_view path) {
  std::string name = "STET_";
  for (const char c : path) {
    if (c == '.' || c == '[') {
      name += "__";
    } else if (c != ']') {
      name.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
    }
  }
  return name;
}

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  std::string best;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace stet::daemon
