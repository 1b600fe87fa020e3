// Values of the template interpreter, with Python's meaning of truth, equality, order, str() and
// repr().
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "src/text/jinja_text.h"

namespace stet::text {

// An error of a template or of its input. Never leaves ChatTemplate::parse and render, which turn
// it into a Status.
class JinjaError : public std::runtime_error {
 public:
  explicit JinjaError(const std::string& message) : std::runtime_error(message) {}
  JinjaError(int line, int column, const std::string& message)
      : std::runtime_error("line " + std::to_string(line) + ":" + std::to_string(column) + ": " +
                           message),
        placed_(true) {}
  bool placed() const { return placed_; }

 private:
  bool placed_ = false;  // the message says where
};

class Value;
struct List;
struct Dict;
struct LoopState;
struct Macro;
struct Namespace;

struct Undefined {
  std::string what;  // for messages: "'x' is undefined"
};
struct None {};
// A method looked up but not called yet: `m.items` without parentheses.
struct BoundMethod {
  std::shared_ptr<const Value> self;
  std::string name;
};
struct Builtin {
  std::string name;  // a global function: range, namespace ...
};

// kIterator: one pass, no length; kView: keys, values, items of a dict: no index.
enum class ListKind : uint8_t { kList, kTuple, kIterator, kRange, kView };

class Value {
 public:
  using Text = std::shared_ptr<const OriginText>;
  Value() : v_(Undefined{}) {}
  // NOLINTBEGIN(google-explicit-constructor): values convert freely
  Value(Undefined u) : v_(std::move(u)) {}
  Value(None n) : v_(n) {}
  Value(bool b) : v_(b) {}
  Value(int64_t i) : v_(i) {}
  Value(double d) : v_(d) {}
  Value(OriginText t) : v_(std::make_shared<const OriginText>(std::move(t))) {}
  Value(Text t) : v_(std::move(t)) {}
  Value(std::shared_ptr<const List> l) : v_(std::move(l)) {}
  Value(std::shared_ptr<const Dict> d) : v_(std::move(d)) {}
  Value(std::shared_ptr<LoopState> l) : v_(std::move(l)) {}
  Value(Namespace* n) : v_(n) {}
  Value(const Macro* m) : v_(m) {}
  Value(BoundMethod m) : v_(std::move(m)) {}
  Value(Builtin b) : v_(std::move(b)) {}
  // NOLINTEND(google-explicit-constructor)
  Value(const char*) = delete;  // a string needs an origin

  static Value list(std::vector<Value> items, ListKind kind = ListKind::kList);
  static Value data(std::string_view text) { return OriginText(text, Origin::kData); }

  template <class T>
  const T* get() const {
    return std::get_if<T>(&v_);
  }
  bool is_undefined() const { return get<Undefined>() != nullptr; }
  bool is_none() const { return get<None>() != nullptr; }
  bool is_bool() const { return get<bool>() != nullptr; }
  bool is_int() const { return get<int64_t>() != nullptr; }
  bool is_float() const { return get<double>() != nullptr; }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  const OriginText* text() const {
    const auto* t = get<Text>();
    return t != nullptr ? t->get() : nullptr;
  }
  const List* as_list() const {
    const auto* l = get<std::shared_ptr<const List>>();
    return l != nullptr ? l->get() : nullptr;
  }
  const Dict* as_dict() const {
    const auto* d = get<std::shared_ptr<const Dict>>();
    return d != nullptr ? d->get() : nullptr;
  }
  Namespace* as_namespace() const {
    const auto* n = get<Namespace*>();
    return n != nullptr ? *n : nullptr;
  }
  LoopState* as_loop() const {
    const auto* l = get<std::shared_ptr<LoopState>>();
    return l != nullptr ? l->get() : nullptr;
  }
  const Macro* as_macro() const {
    const auto* m = get<const Macro*>();
    return m != nullptr ? *m : nullptr;
  }
  bool is_callable() const {
    return as_macro() != nullptr || get<BoundMethod>() != nullptr || get<Builtin>() != nullptr;
  }

  bool truth() const;
  std::string type_name() const;  // Python's: "str", "NoneType"

 private:
  std::variant<Undefined, None, bool, int64_t, double, Text, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, std::shared_ptr<LoopState>, Namespace*, const Macro*,
               BoundMethod, Builtin>
      v_;
};

// How much a walk over a value costs: held small where values are made, so that no walk (nor a
// destructor) gets lost in one.
struct Extent {
  int nesting = 0;  // levels of lists and dicts
  uint64_t weight =
      1;  // values in it, counted as often as they occur; strings count 1 per 64 bytes
};
constexpr int kMaxNesting = 64;
constexpr uint64_t kMaxWeight = 1u << 20;
Extent extent_of(const Value& value);

struct List {
  std::vector<Value> items;
  ListKind kind = ListKind::kList;
  mutable size_t consumed = 0;  // kIterator: items that were taken
  Extent extent{1, 1};          // set by Value::list
};

// Insertion order, as in Python. Keys are strings, numbers, None or tuples of them.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  const Value* find(const Value& key) const;  // null if absent
  void set(const Value& key, Value value);
  Extent extent{1, 1};

 private:
  size_t index_of(const Value& key) const;  // items.size() if absent
  std::unordered_map<std::string, size_t> by_text_;
};

void check_key(const Value& key);  // throws for what is no dict key

struct Namespace {
  Dict attributes;  // owned by the render, so that a namespace may hold itself
};

struct LoopState {
  std::shared_ptr<const List> items;
  size_t index = 0;
  int64_t depth = 1;
};

double as_double(const Value& value);  // of a number
int64_t as_int(const Value& value);    // of a bool or an integer
bool equal(const Value& a, const Value& b);
bool less(const Value& a, const Value& b);  // throws for types without an order
Value compare_key(const Value& value,
                  bool case_sensitive);  // strings in lower case unless case_sensitive

// What a `for` would walk: elements, keys, characters. Throws for what is not iterable; an iterator
// is used up.
std::shared_ptr<const List> iterate(const Value& value);
int64_t length_of(const Value& value);  // throws for what has no length

// str(): strings keep their origin, everything else is data. Throws for what has only an address to
// show.
OriginText to_text(const Value& value);
std::string repr(const Value& value);
std::string float_repr(double value);

}  // namespace stet::text
