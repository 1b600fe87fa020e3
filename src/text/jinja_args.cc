#include <algorithm>

#include "src/text/jinja_filters.h"

namespace stet::text {

std::optional<Value> Args::next(std::string_view name) {
  if (taken_ < positional_.size()) {
    return positional_[taken_++];
  }
  const auto found = std::find_if(named_.begin(), named_.end(),
                                  [name](const auto& one) { return one.first == name; });
  if (found == named_.end()) {
    return std::nullopt;
  }
  Value value = std::move(found->second);
  named_.erase(found);
  return value;
}

int64_t integer_argument(const Value& value, std::string_view name) {
  if (value.is_bool()) {
    return *value.get<bool>() ? 1 : 0;
  }
  if (!value.is_int()) {
    throw JinjaError("argument '" + std::string(name) + "' must be an integer, not '" +
                     value.type_name() + "'");
  }
  return *value.get<int64_t>();
}

int64_t Args::next_int(std::string_view name, int64_t otherwise) {
  const auto value = next(name);
  return value ? integer_argument(*value, name) : otherwise;
}

bool Args::next_bool(std::string_view name, bool otherwise) {
  const auto value = next(name);
  return value ? value->truth() : otherwise;
}

std::optional<OriginText> Args::next_text(std::string_view name) {
  const auto value = next(name);
  if (!value || value->is_none()) {
    return std::nullopt;
  }
  if (value->text() == nullptr) {
    throw JinjaError("argument '" + std::string(name) + "' must be a string, not '" +
                     value->type_name() + "'");
  }
  return *value->text();
}

Value Args::required(std::string_view name) {
  auto value = next(name);
  if (!value) {
    throw JinjaError("argument '" + std::string(name) + "' is missing");
  }
  return *std::move(value);
}

std::vector<Value> Args::rest() {
  std::vector<Value> left(positional_.begin() + static_cast<std::ptrdiff_t>(taken_),
                          positional_.end());
  taken_ = positional_.size();
  return left;
}

std::vector<std::pair<std::string, Value>> Args::rest_named() {
  return std::exchange(named_, {});
}

void Args::done(std::string_view callee) const {
  if (taken_ < positional_.size()) {
    throw JinjaError(std::string(callee) + " takes at most " + std::to_string(taken_) +
                     " positional arguments");
  }
  if (!named_.empty()) {
    throw JinjaError(std::string(callee) + " has no parameter '" + named_.front().first + "'");
  }
}

namespace {

template <class Entry>
const Entry* find_in(std::span<const Entry> table, std::string_view name) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [name](const Entry& one) { return one.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace

const Filter* find_filter(std::string_view name) {
  for (const auto table : {text_filters(), sequence_filters(), number_filters()}) {
    if (const Filter* found = find_in(table, name)) {
      return found;
    }
  }
  return nullptr;
}

}  // namespace stet::text
