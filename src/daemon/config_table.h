// One row per configuration field: default, range, meaning. Read by the loader, the printer and the
// reference page.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stet::daemon {

enum class ValueRule : uint8_t {
  kNone,
  kAddress,            // host:port or unix:path
  kAdminAddress,       // ... or "auto", or "" = no such listener
  kTcpAddressOrEmpty,  // host:port, or ""
  kPath,               // not empty
  kModelId,            // 1..128 of [A-Za-z0-9._:/-]
  kIsa,                // "auto" or a kernel table of this build
  kPolicy,             // a scheduling policy of this build
  kKvMode,             // how KV blocks are addressed
  kEviction,           // which cached block is given up first
};

struct FieldRow {
  const char* path;      // "kv.block_tokens", "models[].path"
  const char* fallback;  // default as text; nullptr = not set
  uint64_t min = 0;      // numbers only
  uint64_t max = UINT64_MAX;
  uint64_t multiple_of = 1;
  bool zero_allowed = false;  // 0 beside [min, max]
  ValueRule rule = ValueRule::kNone;
  const char* doc;  // one sentence; says what 0 or "" means
};

std::span<const FieldRow> field_rows();
const FieldRow* find_row(
    std::string_view path);  // indices are ignored: "models[0].path" finds "models[].path"

// Flags beside --set: frequent fields.
struct ShortFlag {
  const char* flag;  // "--kv-tokens"
  const char* path;
  const char* value_name;
};
std::span<const ShortFlag> short_flags();

std::string range_text(
    const FieldRow& row);  // "a multiple of 64 in [64, 512]"; "" when nothing is bounded
std::vector<std::string> allowed_names(ValueRule rule);  // of kIsa, kPolicy, kKvMode, kEviction
std::string without_indices(std::string_view path);      // "models[0].path" -> "models[].path"
// "STET_KV__BLOCK_TOKENS"; "models[0].path" -> "STET_MODELS__0__PATH".
std::string environment_name(std::string_view path);
// The candidate with the smallest edit distance, or "" when none is near enough to be meant.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace stet::daemon
