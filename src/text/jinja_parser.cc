#include "src/text/jinja_parser.h"

#include <algorithm>

namespace stet::text {

ParsedTemplate parse_template(std::string_view source) {
  return Parser(tokenize_template(source)).run();
}

void Parser::fail_at(const Token& token, const std::string& message) {
  throw JinjaError(token.line, token.column, message);
}

void Parser::enter() {
  if (++depth_ > kMaxDepth) {
    fail("nested more than " + std::to_string(kMaxDepth) + " deep");
  }
}

bool Parser::skip_op(std::string_view op) {
  const bool found = now().is_op(op);
  at_ += found ? 1 : 0;
  return found;
}

bool Parser::skip_name(std::string_view name) {
  const bool found = now().is_name(name);
  at_ += found ? 1 : 0;
  return found;
}

void Parser::expect_op(std::string_view op) {
  if (!skip_op(op)) {
    fail("expected '" + std::string(op) + "'");
  }
}

void Parser::expect(Token::Kind kind, const char* what) {
  if (!now().is(kind)) {
    fail(std::string("expected ") + what +
         (now().text.empty() ? "" : ", found '" + now().text + "'"));
  }
  take();
}

std::string Parser::expect_name(const char* what) {
  if (!now().is(Token::Kind::kName)) {
    fail(std::string("expected ") + what);
  }
  return take().text;
}

ParsedTemplate Parser::run() {
  result_.body = parse_body({});
  return std::move(result_);
}

std::unique_ptr<Stmt> Parser::make(Stmt::Kind kind) const {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->line = now().line;
  stmt->column = now().column;
  return stmt;
}

Block Parser::parse_body(const std::vector<std::string_view>& ends) {
  const Nested nested(this);
  Block body;
  while (!now().is(Token::Kind::kEnd)) {
    if (now().is(Token::Kind::kData)) {
      body.push_back(make(Stmt::Kind::kText));
      body.back()->value = OriginText(take().text, Origin::kTemplate);
    } else if (now().is(Token::Kind::kPrintBegin)) {
      take();
      body.push_back(make(Stmt::Kind::kPrint));
      body.back()->exprs.push_back(parse_tuple(true));
      expect(Token::Kind::kPrintEnd, "'}}'");
    } else {
      expect(Token::Kind::kBlockBegin, "a tag");
      if (std::any_of(ends.begin(), ends.end(),
                      [this](std::string_view end) { return now().is_name(end); })) {
        return body;
      }
      if (auto stmt = parse_statement()) {
        body.push_back(std::move(stmt));
      }
      expect(Token::Kind::kBlockEnd, "'%}'");
    }
  }
  if (!ends.empty()) {
    fail("the template ends where '" + std::string(ends.back()) + "' is missing");
  }
  return body;
}

Block Parser::parse_body_to(std::string_view end) {
  expect(Token::Kind::kBlockEnd, "'%}'");
  Block body = parse_body({end});
  take();
  return body;
}

std::unique_ptr<Stmt> Parser::parse_statement() {
  const Token tag = now();
  if (!tag.is(Token::Kind::kName)) {
    fail("expected the name of a tag");
  }
  using Parse = std::unique_ptr<Stmt> (Parser::*)();
  static constexpr std::pair<std::string_view, Parse> kTags[] = {
      {"if", &Parser::parse_if},           {"for", &Parser::parse_for},
      {"set", &Parser::parse_set},         {"macro", &Parser::parse_macro},
      {"call", &Parser::parse_call_block}, {"filter", &Parser::parse_filter_block},
      {"with", &Parser::parse_with}};
  for (const auto& [name, parse] : kTags) {
    if (tag.text == name) {
      take();
      return (this->*parse)();
    }
  }
  if (tag.text == "break" || tag.text == "continue") {
    if (loops_ == 0) {
      fail("'" + tag.text + "' outside of a loop");
    }
    auto stmt = make(tag.text == "break" ? Stmt::Kind::kBreak : Stmt::Kind::kContinue);
    take();
    return stmt;
  }
  if (tag.text == "generation") {  // marks the assistant's tokens for training; a scope of its own
    take();
    auto stmt = make(Stmt::Kind::kScope);
    stmt->bodies.push_back(parse_body_to("endgeneration"));
    return stmt;
  }
  fail("tag '" + tag.text + "' is not supported");
}

std::unique_ptr<Stmt> Parser::parse_if() {
  auto stmt = make(Stmt::Kind::kIf);
  while (true) {
    stmt->exprs.push_back(parse_tuple(true));
    expect(Token::Kind::kBlockEnd, "'%}'");
    stmt->bodies.push_back(parse_body({"elif", "else", "endif"}));
    if (!skip_name("elif")) {
      break;
    }
  }
  if (skip_name("else")) {
    stmt->bodies.push_back(parse_body_to("endif"));
  } else {
    take();
  }
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_for() {
  auto stmt = make(Stmt::Kind::kFor);
  stmt->target = parse_target(true);
  note_local(stmt->target);
  if (!skip_name("in")) {
    fail("expected 'in'");
  }
  stmt->exprs.push_back(parse_tuple(false));
  stmt->exprs.push_back(skip_name("if") ? parse_expression() : nullptr);
  if (now().is_name("recursive")) {
    fail("recursive loops are not supported");
  }
  expect(Token::Kind::kBlockEnd, "'%}'");
  ++loops_;
  stmt->bodies.push_back(parse_body({"else", "endfor"}));
  --loops_;
  if (skip_name("else")) {
    stmt->bodies.push_back(parse_body_to("endfor"));
  } else {
    take();
  }
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_set() {
  auto stmt = make(Stmt::Kind::kSet);
  stmt->target = parse_target(false);
  if (skip_op("=")) {
    stmt->exprs.push_back(parse_tuple(true));
    return stmt;
  }
  stmt->kind = Stmt::Kind::kSetBlock;
  stmt->exprs.push_back(now().is_op("|") ? parse_filters(nullptr) : nullptr);
  stmt->bodies.push_back(parse_body_to("endset"));
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_macro() {
  auto stmt = make(Stmt::Kind::kMacro);
  stmt->name = expect_name("the macro's name");
  result_.local_names.insert(stmt->name);
  stmt->parameters = parse_parameters();
  const int loops = std::exchange(loops_, 0);
  const bool caller_read_before = result_.read_names.erase("caller") != 0;
  ++macros_;
  stmt->bodies.push_back(parse_body_to("endmacro"));
  --macros_;
  stmt->uses_caller = result_.read_names.contains("caller");
  if (caller_read_before) {
    result_.read_names.insert("caller");
  }
  loops_ = loops;
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_call_block() {
  auto stmt = make(Stmt::Kind::kCallBlock);
  if (now().is_op("(")) {
    stmt->parameters = parse_parameters();
  }
  stmt->exprs.push_back(parse_expression());
  if (stmt->exprs[0]->kind != Expr::Kind::kCall) {
    fail("expected a call");
  }
  const int loops = std::exchange(loops_, 0);
  stmt->bodies.push_back(parse_body_to("endcall"));
  loops_ = loops;
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_filter_block() {
  auto stmt = make(Stmt::Kind::kFilterBlock);
  stmt->exprs.push_back(parse_filters(parse_filter(nullptr)));
  const int loops = std::exchange(loops_, 0);
  stmt->bodies.push_back(parse_body_to("endfilter"));
  loops_ = loops;
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_with() {
  auto stmt = make(Stmt::Kind::kScope);
  while (!now().is(Token::Kind::kBlockEnd)) {
    if (!stmt->exprs.empty()) {
      expect_op(",");
    }
    stmt->target.parts.push_back(parse_one_target(true));
    note_local(stmt->target.parts.back());
    expect_op("=");
    stmt->exprs.push_back(parse_expression());
  }
  stmt->bodies.push_back(parse_body_to("endwith"));
  return stmt;
}

Target Parser::parse_one_target(bool in_loop) {
  const Nested nested(this);
  if (skip_op("(")) {
    Target target = parse_target(in_loop);
    expect_op(")");
    return target;
  }
  Target target;
  target.name = expect_name("a variable's name");
  static constexpr std::string_view kReserved[] = {"true",  "false", "none", "True",
                                                   "False", "None",  "loop"};
  if (std::find(std::begin(kReserved), std::end(kReserved), target.name) != std::end(kReserved)) {
    fail("'" + target.name + "' cannot be assigned");
  }
  if (!in_loop && skip_op(".")) {
    target.kind = Target::Kind::kAttribute;
    target.attribute = expect_name("an attribute's name");
    result_.read_names.insert(target.name);
  }
  return target;
}

Target Parser::parse_target(bool in_loop) {
  Target first = parse_one_target(in_loop);
  if (!now().is_op(",")) {
    return first;
  }
  Target tuple;
  tuple.kind = Target::Kind::kTuple;
  tuple.parts.push_back(std::move(first));
  while (skip_op(",")) {
    if (now().is_op(")")) {
      break;
    }
    tuple.parts.push_back(parse_one_target(in_loop));
  }
  return tuple;
}

Parameters Parser::parse_parameters() {
  Parameters parameters;
  expect_op("(");
  while (!skip_op(")")) {
    if (!parameters.names.empty()) {
      expect_op(",");
    }
    const Token at = now();
    const std::string name = expect_name("a parameter's name");
    if (std::find(parameters.names.begin(), parameters.names.end(), name) !=
        parameters.names.end()) {
      fail_at(at, "parameter '" + name + "' occurs twice");
    }
    parameters.names.push_back(name);
    result_.local_names.insert(parameters.names.back());
    if (skip_op("=")) {
      parameters.defaults.push_back(parse_expression());
    } else if (!parameters.defaults.empty()) {
      fail("a parameter without default follows one with default");
    }
  }
  return parameters;
}

void Parser::note_local(const Target& target) {
  if (target.kind == Target::Kind::kName) {
    result_.local_names.insert(target.name);
  }
  for (const Target& part : target.parts) {
    note_local(part);
  }
}

}  // namespace stet::text
