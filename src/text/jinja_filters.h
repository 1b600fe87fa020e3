// The closed lists of filters, tests, methods and global functions. Each is a plain function looked
// up by name.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/text/jinja_value.h"

namespace stet::text {

class Interpreter;

// The arguments of one call, taken in the order of the parameters.
class Args {
 public:
  Args() = default;
  Args(std::vector<Value> positional, std::vector<std::pair<std::string, Value>> named)
      : positional_(std::move(positional)), named_(std::move(named)) {}

  std::optional<Value> next(
      std::string_view name);  // the next positional one, or the one of that name
  int64_t next_int(std::string_view name, int64_t otherwise);
  bool next_bool(std::string_view name, bool otherwise);
  std::optional<OriginText> next_text(
      std::string_view name);  // none: absent or null; another type is an error
  Value required(std::string_view name);
  std::vector<Value> rest();  // all positional ones that are left
  std::vector<std::pair<std::string, Value>> rest_named();
  void done(std::string_view callee) const;  // throws if something was not taken

 private:
  std::vector<Value> positional_;
  std::vector<std::pair<std::string, Value>> named_;
  size_t taken_ = 0;
};

int64_t integer_argument(const Value& value,
                         std::string_view name);  // booleans are integers; throws for another type

struct Filter {
  std::string_view name;
  Value (*apply)(Interpreter& run, const Value& input, Args& args);
};
struct ValueTest {
  std::string_view name;
  bool (*holds)(Interpreter& run, const Value& input, Args& args);
};
struct Function {
  std::string_view name;
  Value (*apply)(Interpreter& run, Args& args);
};

const Filter* find_filter(std::string_view name);  // null: not supported
const ValueTest* find_test(std::string_view name);
const Function* find_function(std::string_view name);

// The tables behind find_filter, by file.
std::span<const Filter> text_filters();
std::span<const Filter> sequence_filters();
std::span<const Filter> number_filters();

bool has_method(const Value& self, std::string_view name);
Value call_method(Interpreter& run, const Value& self, std::string_view name, Args args);

// json.dumps(value, ensure_ascii, indent, separators, sort_keys) of Python; strings keep their
// origin.
Value filter_tojson(Interpreter& run, const Value& input, Args& args);

// What "attribute=" of map, sort, sum ... reads: "a.b.0" from item. `otherwise` (if not None)
// stands in for what is undefined on the way.
Value read_path(Interpreter& run, const Value& item, const Value& path,
                const Value& otherwise = None{});

}  // namespace stet::text
