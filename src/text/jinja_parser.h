// Tokens to syntax tree. Names what is not supported with line and column; throws JinjaError.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "src/text/jinja_ast.h"
#include "src/text/jinja_lexer.h"

namespace stet::text {

ParsedTemplate parse_template(std::string_view source);

// Recursive descent, precedences as in jinja2/parser.py. Statements: jinja_parser.cc; expressions:
// jinja_parser_expr.cc.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  ParsedTemplate run();

 private:
  // Nesting of blocks and brackets, and the height of any expression: what bounds every later
  // recursion over the tree.
  static constexpr int kMaxDepth = 200;
  struct Nested {  // one level deeper for its lifetime
    explicit Nested(Parser* parser) : parser_(parser) { parser_->enter(); }
    ~Nested() { --parser_->depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    Parser* parser_;
  };
  void enter();

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_op(std::string_view op);
  void expect(Token::Kind kind, const char* what);
  std::string expect_name(const char* what);
  [[noreturn]] void fail(const std::string& message) const { fail_at(now(), message); }
  [[noreturn]] static void fail_at(const Token& token, const std::string& message);

  // Statements until a tag that begins with one of `ends` (left as the current token), or the end
  // of the template.
  Block parse_body(const std::vector<std::string_view>& ends);
  Block parse_body_to(std::string_view end);  // and eats the end tag
  std::unique_ptr<Stmt> parse_statement();
  std::unique_ptr<Stmt> parse_if();
  std::unique_ptr<Stmt> parse_for();
  std::unique_ptr<Stmt> parse_set();
  std::unique_ptr<Stmt> parse_macro();
  std::unique_ptr<Stmt> parse_call_block();
  std::unique_ptr<Stmt> parse_filter_block();
  std::unique_ptr<Stmt> parse_with();
  std::unique_ptr<Stmt> make(Stmt::Kind kind) const;
  Target parse_target(bool in_loop);
  Target parse_one_target(bool in_loop);
  Parameters parse_parameters();
  void note_local(const Target& target);

  ExprPtr parse_tuple(bool conditions);  // a, b: a tuple; a: itself
  ExprPtr parse_expression();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter);
  ExprPtr parse_primary();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr node);
  ExprPtr parse_subscript(ExprPtr node);
  ExprPtr parse_filters(ExprPtr node);
  ExprPtr parse_filter(ExprPtr node);
  ExprPtr parse_test(ExprPtr node);
  ExprPtr parse_call(ExprPtr node);
  Arguments parse_arguments();
  ExprPtr parse_binary(ExprPtr (Parser::*operand)(),
                       const std::vector<std::string_view>& operators);
  ExprPtr node(Expr::Kind kind, const Token& at) const;
  ExprPtr finish(ExprPtr node) const;  // computes and checks its depth
  ExprPtr with_part(Expr::Kind kind, ExprPtr part) const;
  static ExprPtr integer(const Token& token);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0, macros_ = 0;
  ParsedTemplate result_;
};

}  // namespace stet::text
