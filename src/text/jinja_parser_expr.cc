#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "src/text/jinja_filters.h"
#include "src/text/jinja_parser.h"

namespace stet::text {

ExprPtr Parser::node(Expr::Kind kind, const Token& at) const {
  auto made = std::make_unique<Expr>();
  made->kind = kind;
  made->line = at.line;
  made->column = at.column;
  return made;
}

ExprPtr Parser::finish(ExprPtr made) const {
  auto include = [&made](const ExprPtr& part) {
    if (part != nullptr) {
      made->depth = std::max(made->depth, part->depth + 1);
    }
  };
  std::for_each(made->parts.begin(), made->parts.end(), include);
  std::for_each(made->arguments.positional.begin(), made->arguments.positional.end(), include);
  for (const auto& [name, value] : made->arguments.named) {
    include(value);
  }
  if (made->depth > kMaxDepth) {
    throw JinjaError(made->line, made->column,
                     "expression is nested more than " + std::to_string(kMaxDepth) + " deep");
  }
  return made;
}

ExprPtr Parser::with_part(Expr::Kind kind, ExprPtr part) const {
  ExprPtr made = node(kind, now());
  if (part != nullptr) {
    made->line = part->line;
    made->column = part->column;
  }
  made->parts.push_back(std::move(part));
  return made;
}

ExprPtr Parser::parse_tuple(bool conditions) {
  auto element = [this, conditions] { return conditions ? parse_expression() : parse_or(); };
  ExprPtr first = element();
  if (!now().is_op(",")) {
    return first;
  }
  ExprPtr tuple = with_part(Expr::Kind::kTuple, std::move(first));
  while (skip_op(",")) {
    if (now().is(Token::Kind::kPrintEnd) || now().is(Token::Kind::kBlockEnd) || now().is_op(")")) {
      break;
    }
    tuple->parts.push_back(element());
  }
  return finish(std::move(tuple));
}

ExprPtr Parser::parse_expression() {
  const Nested nested(this);
  ExprPtr value = parse_or();
  while (skip_name("if")) {
    ExprPtr made = with_part(Expr::Kind::kCondition, std::move(value));
    made->parts.push_back(parse_or());
    made->parts.push_back(skip_name("else") ? parse_expression() : nullptr);
    value = finish(std::move(made));
  }
  return value;
}

ExprPtr Parser::parse_or() {
  ExprPtr left = parse_and();
  while (skip_name("or")) {
    ExprPtr made = with_part(Expr::Kind::kOr, std::move(left));
    made->parts.push_back(parse_and());
    left = finish(std::move(made));
  }
  return left;
}

ExprPtr Parser::parse_and() {
  ExprPtr left = parse_not();
  while (skip_name("and")) {
    ExprPtr made = with_part(Expr::Kind::kAnd, std::move(left));
    made->parts.push_back(parse_not());
    left = finish(std::move(made));
  }
  return left;
}

ExprPtr Parser::parse_not() {
  if (!now().is_name("not")) {
    return parse_compare();
  }
  const Nested nested(this);
  ExprPtr made = node(Expr::Kind::kNot, take());
  made->parts.push_back(parse_not());
  return finish(std::move(made));
}

ExprPtr Parser::parse_compare() {
  static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
  ExprPtr left = parse_sum();
  ExprPtr made;
  while (true) {
    std::string op;
    for (const std::string_view candidate : kOperators) {
      if (now().is_op(candidate)) {
        op = take().text;
        break;
      }
    }
    if (op.empty() && skip_name("in")) {
      op = "in";
    } else if (op.empty() && now().is_name("not") && ahead().is_name("in")) {
      at_ += 2;
      op = "not in";
    }
    if (op.empty()) {
      return made != nullptr ? finish(std::move(made)) : std::move(left);
    }
    if (made == nullptr) {
      made = with_part(Expr::Kind::kCompare, std::move(left));
    }
    made->operators.push_back(op);
    made->parts.push_back(parse_sum());
  }
}

ExprPtr Parser::parse_binary(ExprPtr (Parser::*operand)(),
                             const std::vector<std::string_view>& operators) {
  ExprPtr left = (this->*operand)();
  while (std::any_of(operators.begin(), operators.end(),
                     [this](std::string_view op) { return now().is_op(op); })) {
    ExprPtr made = node(Expr::Kind::kBinary, now());
    made->name = take().text;
    made->parts.push_back(std::move(left));
    made->parts.push_back((this->*operand)());
    left = finish(std::move(made));
  }
  return left;
}

ExprPtr Parser::parse_sum() {
  return parse_binary(&Parser::parse_concat, {"+", "-"});
}

ExprPtr Parser::parse_concat() {
  ExprPtr first = parse_product();
  if (!now().is_op("~")) {
    return first;
  }
  ExprPtr made = with_part(Expr::Kind::kConcat, std::move(first));
  while (skip_op("~")) {
    made->parts.push_back(parse_product());
  }
  return finish(std::move(made));
}

ExprPtr Parser::parse_product() {
  return parse_binary(&Parser::parse_power, {"*", "/", "//", "%"});
}

ExprPtr Parser::parse_power() {
  ExprPtr left = parse_unary(true);
  while (now().is_op("**")) {
    ExprPtr made = node(Expr::Kind::kBinary, now());
    made->name = take().text;
    made->parts.push_back(std::move(left));
    made->parts.push_back(parse_unary(true));
    left = finish(std::move(made));
  }
  return left;
}

ExprPtr Parser::parse_unary(bool with_filter) {
  const Nested nested(this);
  ExprPtr made;
  if (now().is_op("-") || now().is_op("+")) {
    made = node(now().is_op("-") ? Expr::Kind::kNegate : Expr::Kind::kPlus, now());
    take();
    made->parts.push_back(parse_unary(false));
    made = finish(std::move(made));
  } else {
    made = parse_primary();
  }
  made = parse_postfix(std::move(made));
  return with_filter ? parse_filters(std::move(made)) : std::move(made);
}

ExprPtr Parser::integer(const Token& token) {
  int64_t value = 0;
  const auto result =
      std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
  if (result.ec != std::errc()) {
    fail_at(token, "integer is out of range");
  }
  auto made = std::make_unique<Expr>();
  made->line = token.line;
  made->column = token.column;
  made->value = value;
  return made;
}

ExprPtr Parser::parse_primary() {
  const Token token = now();
  if (token.is(Token::Kind::kName)) {
    take();
    ExprPtr made = node(Expr::Kind::kConst, token);
    if (token.text == "true" || token.text == "True" || token.text == "false" ||
        token.text == "False") {
      made->value = token.text[0] == 't' || token.text[0] == 'T';
    } else if (token.text == "none" || token.text == "None") {
      made->value = None{};
    } else {
      if (macros_ > 0 && (token.text == "varargs" || token.text == "kwargs")) {
        fail_at(token, "'" + token.text + "' of a macro is not supported");
      }
      made->kind = Expr::Kind::kName;
      made->name = token.text;
      result_.read_names.insert(token.text);
    }
    return made;
  }
  if (token.is(Token::Kind::kString)) {
    std::string text;
    while (now().is(Token::Kind::kString)) {
      text += take().text;
    }
    ExprPtr made = node(Expr::Kind::kConst, token);
    made->value = OriginText(text, Origin::kTemplate);
    return made;
  }
  if (token.is(Token::Kind::kInteger)) {
    return integer(take());
  }
  if (token.is(Token::Kind::kFloat)) {
    ExprPtr made = node(Expr::Kind::kConst, take());
    made->value = std::strtod(token.text.c_str(), nullptr);
    return made;
  }
  if (skip_op("(")) {
    if (skip_op(")")) {
      return node(Expr::Kind::kTuple, token);
    }
    ExprPtr made = parse_tuple(true);
    expect_op(")");
    return made;
  }
  if (token.is_op("[")) {
    return parse_list();
  }
  if (token.is_op("{")) {
    return parse_dict();
  }
  fail(token.text.empty() ? "expected an expression" : "unexpected '" + token.text + "'");
}

ExprPtr Parser::parse_list() {
  ExprPtr made = node(Expr::Kind::kList, take());
  while (!skip_op("]")) {
    if (!made->parts.empty()) {
      expect_op(",");
      if (skip_op("]")) {
        break;
      }
    }
    made->parts.push_back(parse_expression());
  }
  return finish(std::move(made));
}

ExprPtr Parser::parse_dict() {
  ExprPtr made = node(Expr::Kind::kDict, take());
  while (!skip_op("}")) {
    if (!made->parts.empty()) {
      expect_op(",");
      if (skip_op("}")) {
        break;
      }
    }
    made->parts.push_back(parse_expression());
    expect_op(":");
    made->parts.push_back(parse_expression());
  }
  return finish(std::move(made));
}

ExprPtr Parser::parse_postfix(ExprPtr made) {
  while (true) {
    if (now().is_op(".") || now().is_op("[")) {
      made = parse_subscript(std::move(made));
    } else if (now().is_op("(")) {
      made = parse_call(std::move(made));
    } else {
      return made;
    }
  }
}

ExprPtr Parser::parse_subscript(ExprPtr object) {
  if (skip_op(".")) {
    if (now().is(Token::Kind::kInteger)) {
      ExprPtr made = with_part(Expr::Kind::kItem, std::move(object));
      made->parts.push_back(integer(take()));
      return finish(std::move(made));
    }
    ExprPtr made = with_part(Expr::Kind::kAttribute, std::move(object));
    made->name = expect_name("an attribute's name");
    return finish(std::move(made));
  }
  expect_op("[");
  ExprPtr parts[3];  // begin, end, step
  size_t part = 0;
  bool is_slice = false;
  while (!skip_op("]")) {
    if (skip_op(":")) {
      is_slice = true;
      if (++part > 2) {
        fail("a slice has at most three parts");
      }
    } else if (now().is_op(",")) {
      fail("an index of several parts is not supported");
    } else if (parts[part] != nullptr) {
      fail("expected ']'");
    } else {
      parts[part] = parse_expression();
    }
  }
  if (!is_slice && parts[0] == nullptr) {
    fail("expected an index");
  }
  ExprPtr made = with_part(is_slice ? Expr::Kind::kSlice : Expr::Kind::kItem, std::move(object));
  for (size_t i = 0; i < (is_slice ? 3u : 1u); ++i) {
    made->parts.push_back(std::move(parts[i]));
  }
  return finish(std::move(made));
}

ExprPtr Parser::parse_filters(ExprPtr made) {
  while (true) {
    if (skip_op("|")) {
      made = parse_filter(std::move(made));
    } else if (made != nullptr && skip_name("is")) {
      made = parse_test(std::move(made));
    } else if (made != nullptr && now().is_op("(")) {
      made = parse_call(std::move(made));
    } else {
      return made;
    }
  }
}

ExprPtr Parser::parse_filter(ExprPtr input) {
  const Token at = now();
  ExprPtr made = node(Expr::Kind::kFilter, at);
  made->name = expect_name("a filter's name");
  made->filter = find_filter(made->name);
  if (made->filter == nullptr) {
    fail_at(at, "filter '" + made->name + "' is not supported");
  }
  made->parts.push_back(std::move(input));
  if (now().is_op("(")) {
    made->arguments = parse_arguments();
  }
  return finish(std::move(made));
}

ExprPtr Parser::parse_test(ExprPtr input) {
  ExprPtr made = with_part(Expr::Kind::kTest, std::move(input));
  made->negated = skip_name("not");
  const Token at = now();
  made->name = expect_name("a test's name");
  made->test = find_test(made->name);
  if (made->test == nullptr) {
    fail_at(at, "test '" + made->name + "' is not supported");
  }
  const Token& next = now();
  const bool operand =
      next.is(Token::Kind::kString) || next.is(Token::Kind::kInteger) ||
      next.is(Token::Kind::kFloat) || next.is_op("[") || next.is_op("{") ||
      (next.is(Token::Kind::kName) && !next.is_name("else") && !next.is_name("or") &&
       !next.is_name("and") && !next.is_name("if") && !next.is_name("in") && !next.is_name("not"));
  if (next.is_op("(")) {
    made->arguments = parse_arguments();
  } else if (operand) {
    if (next.is_name("is")) {
      fail("tests cannot be chained with 'is'");
    }
    const Nested nested(this);
    made->arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  return finish(std::move(made));
}

ExprPtr Parser::parse_call(ExprPtr callee) {
  ExprPtr made = with_part(Expr::Kind::kCall, std::move(callee));
  made->arguments = parse_arguments();
  return finish(std::move(made));
}

Arguments Parser::parse_arguments() {
  Arguments arguments;
  expect_op("(");
  bool first = true;
  while (!skip_op(")")) {
    if (!first) {
      expect_op(",");
      if (skip_op(")")) {
        break;
      }
    }
    first = false;
    if (now().is_op("*") || now().is_op("**")) {
      fail("unpacked arguments ('*') are not supported");
    }
    if (now().is(Token::Kind::kName) && ahead().is_op("=")) {
      std::string name = take().text;
      take();
      arguments.named.emplace_back(std::move(name), parse_expression());
    } else if (!arguments.named.empty()) {
      fail("a positional argument follows a named one");
    } else {
      arguments.positional.push_back(parse_expression());
    }
  }
  return arguments;
}

}  // namespace stet::text
