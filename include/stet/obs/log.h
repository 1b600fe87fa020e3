// Structured log: one event per line, JSON on a pipe, short sentences on a terminal (operations.md
// sec. 9). No prompt, no output text: content has no business here. spdlog stays in src/obs.
//
//   log_info("engine", "started", {{"blocks", 512}, {"policy", "fcfs_conservative"}});
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace stet::obs {

enum class LogLevel : uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };
enum class LogFormat : uint8_t { kAuto, kJson, kText };  // kAuto: text on a terminal, else JSON

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kAuto;
};

// One key=value of an event.
struct LogField {
  std::string_view key;
  std::variant<int64_t, uint64_t, double, bool, std::string> value;

  template <class T>
  LogField(std::string_view k, const T& v)
      : key(k) {  // NOLINT(google-explicit-constructor): brace lists
    if constexpr (std::is_same_v<T, bool>) {
      value = v;
    } else if constexpr (std::is_floating_point_v<T>) {
      value = static_cast<double>(v);
    } else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
      value = static_cast<int64_t>(v);
    } else if constexpr (std::is_integral_v<T>) {
      value = static_cast<uint64_t>(v);
    } else {
      value = std::string(v);
    }
  }
};

// Called once by a main function; before that events go to stderr as text. Thread-safe.
void configure_logging(const LogOptions& options);
// Returns when every line so far is written, or after two seconds if nobody reads stderr.
// Thread-safe.
void flush_logs();
bool log_enabled(LogLevel level);
// Never blocks: on overflow the line is dropped and counted (dropped_log_lines). Thread-safe.
void log_event(LogLevel level, std::string_view folder, std::string_view event,
               std::initializer_list<LogField> fields);
uint64_t dropped_log_lines();

inline void log_debug(std::string_view folder, std::string_view event,
                      std::initializer_list<LogField> fields = {}) {
  if (log_enabled(LogLevel::kDebug)) {
    log_event(LogLevel::kDebug, folder, event, fields);
  }
}
inline void log_info(std::string_view folder, std::string_view event,
                     std::initializer_list<LogField> fields = {}) {
  log_event(LogLevel::kInfo, folder, event, fields);
}
inline void log_warn(std::string_view folder, std::string_view event,
                     std::initializer_list<LogField> fields = {}) {
  log_event(LogLevel::kWarn, folder, event, fields);
}
inline void log_error(std::string_view folder, std::string_view event,
                      std::initializer_list<LogField> fields = {}) {
  log_event(LogLevel::kError, folder, event, fields);
}

}  // namespace stet::obs
