#include "stet/obs/log.h"

#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <ctime>
#include <memory>

#include <nlohmann/json.hpp>

namespace stet::obs {
namespace {

constexpr size_t kRingLines = 8192;

struct Sink {
  std::shared_ptr<spdlog::details::thread_pool> pool;  // null before configure_logging: lines are written at once
  std::shared_ptr<spdlog::logger> logger;
  bool json = false;
};

std::atomic<LogLevel> g_level{LogLevel::kInfo};

Sink& sink() {
  static Sink s = [] {
    Sink first;
    first.logger = std::make_shared<spdlog::logger>("stet", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    first.logger->set_pattern("%v");
    first.json = isatty(STDERR_FILENO) == 0;
    return first;
  }();
  return s;
}

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace: return "trace";
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarn: return "warn";
    case LogLevel::kError: return "error";
    case LogLevel::kOff: break;
  }
  return "off";
}

std::string timestamp() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  const size_t n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + n, sizeof text - n, ".%03dZ", static_cast<int>(millis));
  return text;
}

void append_text(const LogField& field, std::string* line) {
  line->append(field.key);
  line->push_back('=');
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          line->append(value);
        } else if constexpr (std::is_same_v<T, bool>) {
          line->append(value ? "true" : "false");
        } else {
          char digits[32];
          const auto end = std::to_chars(digits, digits + sizeof digits, value);
          line->append(digits, end.ptr);
        }
      },
      field.value);
}

std::string json_line(LogLevel level, std::string_view folder, std::string_view event,
                      std::initializer_list<LogField> fields) {
  nlohmann::ordered_json object;
  object["ts"] = timestamp();
  object["level"] = level_name(level);
  object["event"] = std::string(folder) + "." + std::string(event);
  for (const LogField& field : fields) {
    std::visit([&](const auto& value) { object[std::string(field.key)] = value; }, field.value);
  }
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string text_line(LogLevel level, std::string_view folder, std::string_view event,
                      std::initializer_list<LogField> fields) {
  std::string line = timestamp().substr(11, 12);
  line.append(" ").append(level_name(level)).append(" ").append(folder).append(" ").append(event);
  for (const LogField& field : fields) {
    line.push_back(' ');
    append_text(field, &line);
  }
  return line;
}

}  // namespace

void configure_logging(const LogOptions& options) {
  Sink& s = sink();
  g_level.store(options.level);
  s.json = options.format == LogFormat::kJson ||
           (options.format == LogFormat::kAuto && isatty(STDERR_FILENO) == 0);
  s.pool = std::make_shared<spdlog::details::thread_pool>(kRingLines, 1);
  s.logger = std::make_shared<spdlog::async_logger>("stet", std::make_shared<spdlog::sinks::stderr_sink_mt>(),
                                                    s.pool, spdlog::async_overflow_policy::overrun_oldest);
  s.logger->set_pattern("%v");
}

void flush_logs() { sink().logger->flush(); }

bool log_enabled(LogLevel level) { return level >= g_level.load(std::memory_order_relaxed); }

void log_event(LogLevel level, std::string_view folder, std::string_view event,
               std::initializer_list<LogField> fields) {
  if (!log_enabled(level)) {
    return;
  }
  Sink& s = sink();
  s.logger->log(spdlog::level::critical, s.json ? json_line(level, folder, event, fields)
                                                : text_line(level, folder, event, fields));
}

uint64_t dropped_log_lines() {
  const Sink& s = sink();
  return s.pool ? s.pool->overrun_counter() : 0;
}

}  // namespace stet::obs
