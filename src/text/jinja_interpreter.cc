#include "src/text/jinja_interpreter.h"

#include <algorithm>

namespace stet::text {

class Interpreter::Deeper {
 public:
  explicit Deeper(Interpreter* run) : run_(run) {
    if (++run_->recursion_ > kMaxRecursion) {
      --run_->recursion_;
      throw JinjaError("the template nests too deeply");
    }
  }
  ~Deeper() { --run_->recursion_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  Interpreter* run_;
};

// A new scope for its lifetime; it is used again afterwards unless a macro still sees it.
class Interpreter::InScope {
 public:
  InScope(Interpreter* run, Scope* parent) : run_(run), before_(run->scope_) {
    if (run_->free_scopes_.empty()) {
      run_->scope_ = &run_->scopes_.emplace_back();
    } else {
      run_->scope_ = run_->free_scopes_.back();
      run_->free_scopes_.pop_back();
    }
    run_->scope_->parent = parent;
  }
  ~InScope() {
    if (!run_->scope_->captured) {
      run_->scope_->variables.clear();
      run_->free_scopes_.push_back(run_->scope_);
    }
    run_->scope_ = before_;
  }
  InScope(const InScope&) = delete;
  InScope& operator=(const InScope&) = delete;

 private:
  Interpreter* run_;
  Scope* before_;
};

Interpreter::Interpreter(const ParsedTemplate& parsed, const TemplateLimits& limits,
                         int64_t now_unix_s)
    : parsed_(parsed),
      limits_(limits),
      now_unix_s_(now_unix_s),
      scope_(&scopes_.emplace_back()),
      out_(&output_) {}

OriginText Interpreter::run() {
  exec_block(parsed_.body);
  return std::move(output_);
}

void Interpreter::charge(uint64_t steps) {
  steps_ += steps;
  if (steps_ > limits_.max_steps) {
    throw JinjaError("the template takes more than " + std::to_string(limits_.max_steps) +
                     " steps");
  }
}

Value Interpreter::text(OriginText made) {
  charge(made.size() / 1024);
  if (made.size() > limits_.max_output_bytes) {
    throw JinjaError("a string has more than " + std::to_string(limits_.max_output_bytes) +
                     " bytes");
  }
  return made;
}

Value Interpreter::list(std::vector<Value> items, ListKind kind) {
  charge(items.size() / 16);
  return Value::list(std::move(items), kind);
}

std::shared_ptr<const List> Interpreter::iterate(const Value& value) {
  if (value.text() != nullptr) {
    charge(value.text()->size());  // a string of its own for every character
  } else if (value.as_dict() != nullptr) {
    charge(value.as_dict()->items.size() / 16);
  }
  return text::iterate(value);
}

OriginText Interpreter::to_text(const Value& value) {
  charge_walk(value);
  return text::to_text(value);
}

bool Interpreter::equal(const Value& a, const Value& b) {
  charge(std::min(extent_of(a).weight, extent_of(b).weight) / 16);
  return text::equal(a, b);
}

bool Interpreter::less(const Value& a, const Value& b) {
  charge(std::min(extent_of(a).weight, extent_of(b).weight) / 16);
  return text::less(a, b);
}

Namespace* Interpreter::new_namespace() {
  return &namespaces_.emplace_back();
}

void Interpreter::emit(const OriginText& text) {
  charge(text.size() / 1024);
  if (out_->size() + text.size() > limits_.max_output_bytes) {
    throw JinjaError("the template prints more than " + std::to_string(limits_.max_output_bytes) +
                     " bytes");
  }
  out_->append(text);
}

Value Interpreter::lookup(const std::string& name) {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    charge(scope->variables.size() / 64);
    for (const auto& [variable, value] : scope->variables) {
      if (variable == name) {
        return value;
      }
    }
  }
  if (const auto found = globals_.find(name); found != globals_.end()) {
    return found->second;
  }
  if (find_function(name) != nullptr) {
    return Builtin{name};
  }
  return Undefined{"'" + name + "' is undefined"};
}

void Interpreter::set_variable(std::string_view name, Value value) {
  for (auto& [variable, old] : scope_->variables) {
    if (variable == name) {
      old = std::move(value);
      return;
    }
  }
  scope_->variables.emplace_back(name, std::move(value));
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.kind == Target::Kind::kName) {
    set_variable(target.name, value);
  } else if (target.kind == Target::Kind::kAttribute) {
    Namespace* ns = lookup(target.name).as_namespace();
    if (ns == nullptr) {
      throw JinjaError("cannot assign attribute '" + target.attribute + "': '" + target.name +
                       "' is no namespace");
    }
    ns->attributes.set(OriginText(target.attribute, Origin::kTemplate), value);
  } else {
    const auto parts = iterate(value);
    if (parts->items.size() != target.parts.size()) {
      throw JinjaError("cannot unpack " + std::to_string(parts->items.size()) + " values into " +
                       std::to_string(target.parts.size()) + " variables");
    }
    for (size_t i = 0; i < target.parts.size(); ++i) {
      assign(target.parts[i], parts->items[i]);
    }
  }
}

Interpreter::Flow Interpreter::exec_block(const Block& block) {
  const Deeper deeper(this);
  for (const auto& stmt : block) {
    Flow flow = Flow::kNext;
    try {
      charge(1);
      flow = exec(*stmt);
    } catch (const TemplateRefusal&) {
      throw;
    } catch (const JinjaError& error) {
      if (error.placed()) {
        throw;
      }
      throw JinjaError(stmt->line, stmt->column, error.what());
    }
    if (flow != Flow::kNext) {
      return flow;
    }
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const Stmt& stmt) {
  switch (stmt.kind) {
    case Stmt::Kind::kText: emit(*stmt.value.text()); return Flow::kNext;
    case Stmt::Kind::kPrint: {
      const Value value = eval(*stmt.exprs[0]);
      emit(value.text() != nullptr ? *value.text() : to_text(value));
      return Flow::kNext;
    }
    case Stmt::Kind::kIf: return exec_if(stmt);
    case Stmt::Kind::kFor: return exec_for(stmt);
    case Stmt::Kind::kSet:
    case Stmt::Kind::kSetBlock: exec_set(stmt); return Flow::kNext;
    case Stmt::Kind::kMacro: set_variable(stmt.name, define_macro(stmt)); return Flow::kNext;
    case Stmt::Kind::kCallBlock: exec_call_block(stmt); return Flow::kNext;
    case Stmt::Kind::kFilterBlock: exec_filter_block(stmt); return Flow::kNext;
    case Stmt::Kind::kScope: return exec_scope(stmt);
    case Stmt::Kind::kBreak: return Flow::kBreak;
    case Stmt::Kind::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec_if(const Stmt& stmt) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    if (eval(*stmt.exprs[i]).truth()) {
      return exec_block(stmt.bodies[i]);
    }
  }
  return stmt.bodies.size() > stmt.exprs.size() ? exec_block(stmt.bodies.back()) : Flow::kNext;
}

std::shared_ptr<const List> Interpreter::loop_items(const Stmt& stmt) {
  auto items = iterate(eval(*stmt.exprs[0]));
  if (stmt.exprs[1] == nullptr) {
    return items;
  }
  auto kept = std::make_shared<List>();
  for (const Value& item : items->items) {
    charge(1);
    const InScope in_scope(this, scope_);
    assign(stmt.target, item);
    if (eval(*stmt.exprs[1]).truth()) {
      kept->items.push_back(item);
    }
  }
  kept->extent = items->extent;  // at most
  return kept;
}

Interpreter::Flow Interpreter::exec_for(const Stmt& stmt) {
  auto loop = std::make_shared<LoopState>();
  loop->items = loop_items(stmt);
  bool completed = false;  // some pass: as in Jinja, `else` is also for loops that broke off or
                           // continued in every one
  for (size_t i = 0; i < loop->items->items.size(); ++i) {
    charge(1);
    loop->index = i;
    const InScope in_scope(this, scope_);
    set_variable("loop", loop);
    assign(stmt.target, loop->items->items[i]);
    const Flow flow = exec_block(stmt.bodies[0]);
    if (flow == Flow::kBreak) {
      break;
    }
    completed = completed || flow == Flow::kNext;
  }
  if (!completed && stmt.bodies.size() > 1) {
    const InScope in_scope(this, scope_);
    return exec_block(stmt.bodies[1]);
  }
  return Flow::kNext;
}

void Interpreter::exec_set(const Stmt& stmt) {
  if (stmt.kind == Stmt::Kind::kSet) {
    assign(stmt.target, eval(*stmt.exprs[0]));
    return;
  }
  Value value = capture(stmt.bodies[0]);
  if (stmt.exprs[0] != nullptr) {
    block_input_ = std::move(value);
    value = eval(*stmt.exprs[0]);
  }
  assign(stmt.target, value);
}

Interpreter::Flow Interpreter::exec_scope(const Stmt& stmt) {
  std::vector<Value> values;  // all evaluated outside, as Jinja does
  values.reserve(stmt.exprs.size());
  for (const auto& expr : stmt.exprs) {
    values.push_back(eval(*expr));
  }
  const InScope in_scope(this, scope_);
  for (size_t i = 0; i < values.size(); ++i) {
    assign(stmt.target.parts[i], values[i]);
  }
  return exec_block(stmt.bodies[0]);
}

void Interpreter::exec_filter_block(const Stmt& stmt) {
  block_input_ = capture(stmt.bodies[0]);
  const Value value = eval(*stmt.exprs[0]);
  if (value.text() == nullptr) {
    throw JinjaError("a filter block must give a string, not '" + value.type_name() + "'");
  }
  emit(*value.text());
}

Macro* Interpreter::define_macro(const Stmt& stmt) {
  for (Scope* scope = scope_; scope != nullptr && !scope->captured; scope = scope->parent) {
    scope->captured = true;
  }
  return &macros_.emplace_back(Macro{&stmt, scope_});
}

void Interpreter::exec_call_block(const Stmt& stmt) {
  const Macro* caller = define_macro(stmt);
  const Value value = eval_call(*stmt.exprs[0], caller);
  emit(to_text(value));
}

Value Interpreter::capture(const Block& block) {
  OriginText captured;
  OriginText* before = std::exchange(out_, &captured);
  {
    const InScope in_scope(this, scope_);
    exec_block(block);  // an error ends the render: out_ is not used again
  }
  out_ = before;
  return captured;
}

Value Interpreter::call_macro(const Macro& macro, Args args, const Macro* caller) {
  if (macro_depth_ >= limits_.max_depth) {
    throw JinjaError("macros call each other more than " + std::to_string(limits_.max_depth) +
                     " deep");
  }
  if (caller != nullptr && !macro.definition->uses_caller) {
    throw JinjaError("macro '" + macro.definition->name +
                     "' is called with a block but does not use caller()");
  }
  ++macro_depth_;
  const InScope in_scope(this, macro.scope);
  const Parameters& parameters = macro.definition->parameters;
  const size_t first_default = parameters.names.size() - parameters.defaults.size();
  std::vector<std::optional<Value>> given;
  given.reserve(parameters.names.size());
  for (const std::string& name : parameters.names) {
    given.push_back(args.next(name));
  }
  args.done("macro '" + macro.definition->name + "'");
  for (size_t i = 0; i < parameters.names.size(); ++i) {  // a default sees the parameters before it
    const std::string& name = parameters.names[i];
    if (auto& value = given[i]) {
      set_variable(name, *std::move(value));
    } else if (i >= first_default) {
      set_variable(name, eval(*parameters.defaults[i - first_default]));
    } else {
      set_variable(name, Undefined{"parameter '" + name + "' was not provided"});
    }
  }
  if (caller != nullptr) {
    set_variable("caller", caller);
  }
  OriginText captured;
  OriginText* before = std::exchange(out_, &captured);
  exec_block(macro.definition->bodies[0]);
  out_ = before;
  --macro_depth_;
  return captured;
}

}  // namespace stet::text
