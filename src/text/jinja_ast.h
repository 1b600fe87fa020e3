// The syntax tree of a template. Built by parse_template, immutable afterwards.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "src/text/jinja_value.h"

namespace stet::text {

struct Filter;  // jinja_filters.h
struct ValueTest;

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
};

struct Expr {
  enum class Kind : uint8_t {
    kConst,  // value
    kName,   // name
    kList,
    kTuple,  // parts
    kDict,   // parts: key, value, key, value ...
    kNot,
    kNegate,
    kPlus,  // parts[0]
    kAnd,
    kOr,         // parts[0], parts[1]
    kBinary,     // name = operator; parts[0], parts[1]
    kConcat,     // parts joined by ~
    kCompare,    // parts[0] operators[0] parts[1] operators[1] ...
    kCondition,  // parts[0] if parts[1] else parts[2] (may be null)
    kAttribute,  // parts[0].name
    kItem,       // parts[0][parts[1]]
    kSlice,      // parts[0][parts[1]:parts[2]:parts[3]], the last three may be null
    kCall,       // parts[0](arguments)
    kFilter,     // parts[0] | filter(arguments); parts[0] is null in a filter block
    kTest,       // parts[0] is [not] test(arguments)
  };
  Kind kind = Kind::kConst;
  int line = 1, column = 1;
  int depth = 1;  // of the tree below, itself included
  std::string name;
  Value value;
  std::vector<ExprPtr> parts;
  std::vector<std::string> operators;
  Arguments arguments;
  const Filter* filter = nullptr;
  const ValueTest* test = nullptr;
  bool negated = false;
};

// What an assignment or a loop writes to.
struct Target {
  enum class Kind : uint8_t { kName, kAttribute, kTuple } kind = Kind::kName;
  std::string name, attribute;
  std::vector<Target> parts;
};

struct Stmt;
using Block = std::vector<std::unique_ptr<Stmt>>;

struct Parameters {
  std::vector<std::string> names;
  std::vector<ExprPtr> defaults;  // of the last ones
};

struct Stmt {
  enum class Kind : uint8_t {
    kText,         // value
    kPrint,        // exprs[0]
    kIf,           // exprs[i] guards bodies[i]; one more body = else
    kFor,          // target in exprs[0] if exprs[1] (may be null): bodies[0], else bodies[1]
    kSet,          // target = exprs[0]
    kSetBlock,     // target = bodies[0] through the filters exprs[0] (may be null)
    kMacro,        // name, parameters, bodies[0]
    kCallBlock,    // exprs[0] is called with a caller: parameters, bodies[0]
    kFilterBlock,  // bodies[0] through exprs[0]
    kScope,        // with: targets.parts[i] = exprs[i], then bodies[0]; generation blocks
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  int line = 1, column = 1;
  Value value;
  std::string name;
  Target target;
  std::vector<ExprPtr> exprs;
  std::vector<Block> bodies;
  Parameters parameters;
  bool uses_caller = false;  // kMacro
};

struct ParsedTemplate {
  Block body;
  std::set<std::string, std::less<>> read_names;  // variables that are read
  std::set<std::string, std::less<>>
      local_names;  // loop variables, parameters, macros: not the caller's to set
};

}  // namespace stet::text
