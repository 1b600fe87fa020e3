// Runs a parsed template: scopes, statements, expressions, budgets. One per render, on one thread.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/text/jinja_ast.h"
#include "src/text/jinja_filters.h"
#include "stet/text/chat_template.h"

namespace stet::text {

// raise_exception(message) of the template: the messages do not suit it.
class TemplateRefusal : public JinjaError {
 public:
  using JinjaError::JinjaError;
};

struct Scope {
  Scope* parent = nullptr;
  bool captured = false;                                      // a macro may still look here
  std::vector<std::pair<std::string_view, Value>> variables;  // few: linear search
};

struct Macro {
  const Stmt* definition;
  Scope* scope;  // where it was defined: what its body sees
};

class Interpreter {
 public:
  Interpreter(const ParsedTemplate& parsed, const TemplateLimits& limits, int64_t now_unix_s);
  void set_global(std::string name, Value value) {
    globals_.insert_or_assign(std::move(name), std::move(value));
  }
  OriginText run();  // once; throws JinjaError

  // Services for filters, tests, methods and functions. Whatever takes time proportional to a value
  // is charged for it.
  void charge(uint64_t steps);
  void charge_walk(const Value& value) { charge(extent_of(value).weight / 16); }
  void charge_lookup(const Dict& dict, const Value& key) {  // only strings are found without a walk
    charge(key.text() == nullptr ? dict.items.size() / 16 : 0);
  }
  Value text(OriginText text);  // a new string: its bytes are charged and capped
  Value list(std::vector<Value> items, ListKind kind = ListKind::kList);
  std::shared_ptr<const List> iterate(const Value& value);
  OriginText to_text(const Value& value);
  bool equal(const Value& a, const Value& b);
  bool less(const Value& a, const Value& b);
  bool contains(const Value& container, const Value& item);
  Value attribute(const Value& object, const std::string& name);  // object.name
  Value item(const Value& object, const Value& key);              // object[key]
  Value call(const Value& callee, Args args);
  Namespace* new_namespace();
  int64_t now_unix_s() const { return now_unix_s_; }
  uint64_t max_text_bytes() const { return limits_.max_output_bytes; }

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };
  // Frames of eval and exec on the C++ stack; a frame is below 2 KiB with sanitizers.
  static constexpr int kMaxRecursion = 700;
  class Deeper;
  class InScope;

  Flow exec_block(const Block& block);
  Flow exec(const Stmt& stmt);
  Flow exec_if(const Stmt& stmt);
  Flow exec_for(const Stmt& stmt);
  std::shared_ptr<const List> loop_items(const Stmt& stmt);
  void exec_set(const Stmt& stmt);
  Flow exec_scope(const Stmt& stmt);
  void exec_filter_block(const Stmt& stmt);
  void exec_call_block(const Stmt& stmt);
  Macro* define_macro(const Stmt& stmt);
  Value capture(const Block& block);  // what a block prints, in a scope of its own
  void assign(const Target& target, const Value& value);
  void set_variable(std::string_view name, Value value);
  Value lookup(const std::string& name);
  void emit(const OriginText& text);

  Value eval(const Expr& expr);
  Value eval_kind(const Expr& expr);
  Value eval_list(const Expr& expr);
  Value eval_dict(const Expr& expr);
  Value eval_binary(const Expr& expr);
  Value eval_concat(const Expr& expr);
  Value eval_compare(const Expr& expr);
  bool compare(const std::string& op, const Value& a, const Value& b);
  Value eval_slice(const Expr& expr);
  Value eval_call(const Expr& expr, const Macro* caller);
  Value eval_filter(const Expr& expr);
  Value eval_test(const Expr& expr);
  Args eval_arguments(const Arguments& arguments);
  Value call_macro(const Macro& macro, Args args, const Macro* caller);

  const ParsedTemplate& parsed_;
  const TemplateLimits limits_;
  const int64_t now_unix_s_;
  std::map<std::string, Value, std::less<>> globals_;
  std::deque<Scope> scopes_;  // all of this render: addresses stay
  std::vector<Scope*> free_scopes_;
  std::deque<Macro> macros_;
  std::deque<Namespace>
      namespaces_;  // owned here, so that a namespace that holds itself is no leak
  Scope* scope_;
  OriginText* out_;
  OriginText output_;
  Value block_input_;  // what the filters of a block work on
  uint64_t steps_ = 0;
  int recursion_ = 0;
  uint32_t macro_depth_ = 0;
};

// a <op> b for + - * / // % **.
Value arithmetic(Interpreter& run, const std::string& op, const Value& a, const Value& b);
Value negate(const Value& value, bool plus);

}  // namespace stet::text
