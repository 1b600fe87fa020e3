// The reader of trace files. Whatever a line may hold, the answer is a trace or an error that says
// where and why.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>

#include "src/sim/trace.h"

namespace stet::sim {
namespace {

constexpr std::string_view kHeader = "arrival_s,prompt_tokens,output_tokens";
constexpr std::string_view kHeaderWithIds = "arrival_s,prompt_tokens,output_tokens,prefix_hash_ids";
constexpr double kMaxArrivalS = 1e9;  // 31 years: far below what microseconds in 64 bits can count

// Cuts the part before `separator` off `rest`; the last part ends with the text.
std::string_view take_until(char separator, std::string_view* rest) {
  const size_t end = rest->find(separator);
  const std::string_view part = rest->substr(0, end);
  *rest = end == std::string_view::npos ? std::string_view() : rest->substr(end + 1);
  return part;
}

template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

class Reader {
 public:
  explicit Reader(const std::string& file_name) : file_name_(file_name) {}

  Result<Trace> read(std::string_view csv);

 private:
  Status wrong(const std::string& what) const {
    return invalid_argument(file_name_ + ":" + std::to_string(line_) + ": " + what);
  }
  Status wrong_field(const char* field, std::string_view found, const std::string& expected) const {
    return wrong(std::string(field) + " is '" + std::string(found) + "'; expected " + expected);
  }
  Status read_header(std::string_view line);
  Status read_row(std::string_view line, TraceRequest* row);
  Status read_arrival(std::string_view field, TraceRequest* row);
  Status read_tokens(const char* name, std::string_view field, uint32_t* tokens) const;
  Status read_ids(std::string_view field, TraceRequest* row) const;

  const std::string& file_name_;
  size_t line_ = 0;
  bool with_ids_ = false;
  uint64_t last_arrival_us_ = 0;
};

Status Reader::read_header(std::string_view line) {
  with_ids_ = line == kHeaderWithIds;
  if (!with_ids_ && line != kHeader) {
    return wrong("the header is '" + std::string(line.substr(0, 200)) + "'; expected '" +
                 std::string(kHeader) + "', with or without ',prefix_hash_ids'");
  }
  return {};
}

Status Reader::read_arrival(std::string_view field, TraceRequest* row) {
  const std::optional<double> seconds = parse_number<double>(field);
  if (!seconds || !(*seconds >= 0.0 && *seconds <= kMaxArrivalS)) {
    return wrong_field("arrival_s", field, "seconds from the first request on, a number >= 0");
  }
  row->arrival_us = static_cast<uint64_t>(std::llround(*seconds * 1e6));
  if (row->arrival_us < last_arrival_us_) {
    return wrong_field("arrival_s", field,
                       "no less than the row before: rows stand in the order of arrival");
  }
  last_arrival_us_ = row->arrival_us;
  return {};
}

Status Reader::read_tokens(const char* name, std::string_view field, uint32_t* tokens) const {
  const std::optional<uint32_t> number = parse_number<uint32_t>(field);
  if (!number || *number == 0 || *number > kMaxTraceTokens) {
    return wrong_field(name, field, "a whole number in 1.." + std::to_string(kMaxTraceTokens));
  }
  *tokens = *number;
  return {};
}

Status Reader::read_ids(std::string_view field, TraceRequest* row) const {
  const size_t expected = (row->prompt_tokens + kPrefixBlockTokens - 1) / kPrefixBlockTokens;
  const std::string count = std::to_string(expected) + " ids, one per started " +
                            std::to_string(kPrefixBlockTokens) + " of " +
                            std::to_string(row->prompt_tokens) + " prompt tokens";
  for (std::string_view rest = field; !rest.empty();) {
    const std::string_view run = take_until(' ', &rest);
    std::string_view bounds = run;
    const std::string_view first_text = take_until('-', &bounds);
    const std::optional<uint64_t> first = parse_number<uint64_t>(first_text);
    const std::optional<uint64_t> last =
        first_text.size() == run.size() ? first : parse_number<uint64_t>(bounds);
    if (!first || !last || *last < *first) {
      return wrong_field("prefix_hash_ids", run, "an id, or first-last with first <= last");
    }
    if (*last - *first >= expected - row->prefix_ids.size()) {
      return wrong("prefix_hash_ids has too many ids at '" + std::string(run) + "'; expected " +
                   count);
    }
    for (uint64_t id = *first; id <= *last; ++id) {
      row->prefix_ids.push_back(id);
    }
  }
  if (row->prefix_ids.size() != expected) {
    return wrong("prefix_hash_ids has " + std::to_string(row->prefix_ids.size()) +
                 " ids; expected " + count);
  }
  return {};
}

Status Reader::read_row(std::string_view line, TraceRequest* row) {
  const size_t num_fields = 1 + static_cast<size_t>(std::count(line.begin(), line.end(), ','));
  const size_t expected = with_ids_ ? 4 : 3;
  if (num_fields != expected) {
    return wrong("the row has " + std::to_string(num_fields) + " fields; expected " +
                 std::to_string(expected) + ": " +
                 std::string(with_ids_ ? kHeaderWithIds : kHeader));
  }
  STET_RETURN_IF_ERROR(read_arrival(take_until(',', &line), row));
  STET_RETURN_IF_ERROR(read_tokens("prompt_tokens", take_until(',', &line), &row->prompt_tokens));
  STET_RETURN_IF_ERROR(read_tokens("output_tokens", take_until(',', &line), &row->output_tokens));
  return with_ids_ ? read_ids(line, row) : Status();
}

Result<Trace> Reader::read(std::string_view csv) {
  Trace trace{.name = file_name_, .requests = {}};
  while (line_ == 0 || !csv.empty()) {
    ++line_;
    std::string_view line = take_until('\n', &csv);
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    if (line_ == 1) {
      STET_RETURN_IF_ERROR(read_header(line));
      continue;
    }
    STET_RETURN_IF_ERROR(read_row(line, &trace.requests.emplace_back()));
  }
  if (trace.requests.empty()) {
    return wrong("the file ends after the header; expected at least one request");
  }
  return trace;
}

}  // namespace

Result<Trace> parse_trace(std::string_view csv, const std::string& file_name) {
  return Reader(file_name).read(csv);
}

Result<Trace> load_trace(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return not_found(path + ": the trace cannot be read");
  }
  return parse_trace(text.str(), path);
}

}  // namespace stet::sim
