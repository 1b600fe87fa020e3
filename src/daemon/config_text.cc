#include "src/daemon/config_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <map>
#include <optional>

#include "src/daemon/config_table.h"

namespace stet::daemon {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::io::Tokenizer;

constexpr int kMaxDepth =
    32;  // of blocks that are skipped: known fields nest as deep as the schema

class Parser final : google::protobuf::io::ErrorCollector {
 public:
  Parser(const std::string& file_name, std::string_view text, std::vector<Assignment>* assignments,
         std::vector<ConfigError>* errors)
      : file_name_(file_name),
        stream_(text.data(), static_cast<int>(text.size())),
        tokenizer_(&stream_, this),
        assignments_(assignments),
        errors_(errors) {
    tokenizer_.set_comment_style(Tokenizer::SH_COMMENT_STYLE);
    tokenizer_.set_require_space_after_number(false);
    tokenizer_.set_allow_multiline_strings(false);
  }

  void parse() {
    tokenizer_.Next();
    parse_fields(config::v1::Config::descriptor(), "", "");
  }

 private:
  // The tokenizer's own complaints: unterminated strings, stray characters.
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    syntax_error(line, column, message);
  }

  Origin at(int line, int column) const {
    return {Origin::Kind::kFile, file_name_, line + 1, column + 1};
  }
  Origin here() { return at(tokenizer_.current().line, tokenizer_.current().column); }

  void syntax_error(int line, int column, const std::string& message) {
    if (!failed_) {
      errors_->push_back({at(line, column), ConfigErrorCode::kSyntax, message});
    }
    failed_ = true;
  }
  void expected(const std::string& what) {
    const Tokenizer::Token& token = tokenizer_.current();
    const std::string found = token.type == Tokenizer::TYPE_END
                                  ? "the end of the file"
                                  : "'" + shown_text(token.text) + "'";
    syntax_error(token.line, token.column, "expected " + what + ", found " + found);
  }

  bool is(std::string_view symbol) { return tokenizer_.current().text == symbol; }
  bool take(std::string_view symbol) {
    const bool found = tokenizer_.current().type == Tokenizer::TYPE_SYMBOL && is(symbol);
    if (found) {
      tokenizer_.Next();
    }
    return found;
  }

  // Fields up to `close` ("" = the end of the file).
  void parse_fields(const Descriptor* message, const std::string& prefix, std::string_view close) {
    std::map<std::string, Origin> seen;
    std::map<std::string, int> counts;
    while (!failed_) {
      const bool at_end = tokenizer_.current().type == Tokenizer::TYPE_END;
      if (close.empty() ? at_end : (!at_end && take(close))) {
        return;
      }
      if (tokenizer_.current().type != Tokenizer::TYPE_IDENTIFIER) {
        expected(close.empty() ? "a field name" : "a field name or '" + std::string(close) + "'");
        return;
      }
      const std::string name = tokenizer_.current().text;
      const Origin origin = here();
      tokenizer_.Next();
      const FieldDescriptor* field = message->FindFieldByName(name);
      const std::string path = prefix.empty() ? name : prefix + "." + name;
      if (field == nullptr) {
        errors_->push_back({origin, ConfigErrorCode::kUnknownField, unknown_field_message(path)});
        skip_value();
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        const std::string index =
            field->is_repeated() ? "[" + std::to_string(counts[name]++) + "]" : "";
        parse_block(field, path + index);
      } else {
        const auto [first, is_new] = seen.emplace(name, origin);
        if (!is_new) {
          errors_->push_back(
              {origin, ConfigErrorCode::kGivenTwice,
               path + ": given twice, first in line " + std::to_string(first->second.line)});
        }
        parse_leaf(path, origin);
      }
      if (!take(";")) {
        take(",");
      }
    }
  }

  void parse_block(const FieldDescriptor* field, const std::string& path) {
    take(":");
    const bool brace = take("{");
    if (!brace && !take("<")) {
      expected("'{' after " + path);
      return;
    }
    parse_fields(field->message_type(), path, brace ? "}" : ">");
  }

  void parse_leaf(const std::string& path, const Origin& name_origin) {
    if (!take(":")) {
      expected("':' after " + path);
      return;
    }
    Assignment assignment{.path = path, .origin = here(), .name_origin = name_origin};
    if (parse_scalar(&assignment)) {
      assignments_->push_back(std::move(assignment));
    }
  }

  bool parse_scalar(Assignment* out) {
    const bool negative = take("-");
    switch (tokenizer_.current().type) {
      case Tokenizer::TYPE_INTEGER:
      case Tokenizer::TYPE_FLOAT: out->form = Assignment::Form::kNumber; break;
      case Tokenizer::TYPE_IDENTIFIER: out->form = Assignment::Form::kIdentifier; break;
      case Tokenizer::TYPE_STRING:
        out->form = Assignment::Form::kString;
        if (!negative) {
          while (tokenizer_.current().type == Tokenizer::TYPE_STRING) {  // adjacent strings are one
            Tokenizer::ParseStringAppend(tokenizer_.current().text, &out->value);
            tokenizer_.Next();
          }
          return true;
        }
        [[fallthrough]];
      default: expected("a value for " + out->path); return false;
    }
    out->value = (negative ? "-" : "") + tokenizer_.current().text;
    tokenizer_.Next();
    return true;
  }

  // The value of an unknown field: a scalar, a list or a block.
  void skip_value() {
    const bool colon = take(":");
    int depth = 0;
    do {
      const Tokenizer::Token& token = tokenizer_.current();
      if (token.type == Tokenizer::TYPE_END || depth > kMaxDepth) {
        expected(depth > 0 ? "a closing bracket" : "a value");
        return;
      }
      const bool opens = token.type == Tokenizer::TYPE_SYMBOL && (is("{") || is("<") || is("["));
      const bool closes = token.type == Tokenizer::TYPE_SYMBOL && (is("}") || is(">") || is("]"));
      if (depth == 0 && !opens && !colon) {
        expected("':' or '{'");
        return;
      }
      if (depth == 0 && !opens) {
        Assignment ignored;
        parse_scalar(&ignored);
        return;
      }
      depth += opens ? 1 : closes ? -1 : 0;
      tokenizer_.Next();
    } while (depth > 0 && !failed_);
  }

  const std::string file_name_;
  google::protobuf::io::ArrayInputStream stream_;
  Tokenizer tokenizer_;
  std::vector<Assignment>* assignments_;
  std::vector<ConfigError>* errors_;
  bool failed_ = false;
};

}  // namespace

void parse_config_text(const std::string& file_name, std::string_view text,
                       std::vector<Assignment>* assignments, std::vector<ConfigError>* errors) {
  Parser(file_name, text, assignments, errors).parse();
}

}  // namespace stet::daemon
