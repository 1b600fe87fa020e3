#include "stet/obs/log.h"

#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <ctime>
#include <memory>
#include <mutex>

#include <nlohmann/json.hpp>

namespace stet::obs {
namespace {

constexpr size_t kRingLines = 8192;
// A reader of stderr that takes nothing must not keep a process from ending.
constexpr std::chrono::seconds kFlushPatience{2};

// stderr, and a way to wait for a flush: spdlog's own only asks an async logger's thread for one.
class StderrSink final : public spdlog::sinks::stderr_sink_mt {
 public:
  void flush() override {
    spdlog::sinks::stderr_sink_mt::flush();
    {
      std::lock_guard lock(mutex_);
      num_flushes_ += 1;
    }
    flushed_.notify_all();
  }
  uint64_t num_flushes() {
    std::lock_guard lock(mutex_);
    return num_flushes_;
  }
  void wait_flush_after(uint64_t num_flushes) {
    std::unique_lock lock(mutex_);
    flushed_.wait_for(lock, kFlushPatience, [&] { return num_flushes_ > num_flushes; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable flushed_;
  uint64_t num_flushes_ = 0;
};

struct Sink {
  std::shared_ptr<StderrSink> stream = std::make_shared<StderrSink>();
  std::shared_ptr<spdlog::details::thread_pool>
      pool;  // null before configure_logging: lines are written at once
  std::shared_ptr<spdlog::logger> logger;
  bool json = false;
};

std::atomic<LogLevel> g_level{LogLevel::kInfo};

Sink& sink() {
  static Sink s = [] {
    Sink first;
    first.logger = std::make_shared<spdlog::logger>("stet", first.stream);
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

// Without control characters: an event is one line, and a terminal obeys no value of it.
void append_printable(std::string_view text, std::string* line) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      line->push_back(c);
      continue;
    }
    char escape[5];
    std::snprintf(escape, sizeof escape, "\\x%02x", byte);
    line->append(escape);
  }
}

void append_text(const LogField& field, std::string* line) {
  line->append(field.key);
  line->push_back('=');
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          append_printable(value, line);
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
  s.logger = std::make_shared<spdlog::async_logger>("stet", s.stream, s.pool,
                                                    spdlog::async_overflow_policy::overrun_oldest);
  s.logger->set_pattern("%v");
}

void flush_logs() {
  static std::mutex one_at_a_time;  // so that the next flush seen is the one asked for here
  std::lock_guard lock(one_at_a_time);
  Sink& s = sink();
  const uint64_t before = s.stream->num_flushes();
  s.logger->flush();
  s.stream->wait_flush_after(before);
}

bool log_enabled(LogLevel level) {
  return level >= g_level.load(std::memory_order_relaxed);
}

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
