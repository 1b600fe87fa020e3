// docs/request_fields.md: the table of request fields as a page that people and the end-to-end grid
// (tests/e2e/test_request_grid.py) read.
#include "src/proxy/field_handlers.h"

namespace stet::proxy {
namespace {

std::string_view routes_text(uint8_t routes) {
  switch (routes) {
    case static_cast<uint8_t>(ApiRoute::kChat): return "chat";
    case static_cast<uint8_t>(ApiRoute::kCompletions): return "completions";
    default: return "both";
  }
}

std::string_view kind_text(FieldKind kind) {
  switch (kind) {
    case FieldKind::kBool: return "boolean";
    case FieldKind::kInteger: return "integer";
    case FieldKind::kNumber: return "number";
    case FieldKind::kString: return "string";
    case FieldKind::kIntegers: return "array of integers";
    case FieldKind::kStringOrStrings: return "string or array of strings";
    case FieldKind::kObject: return "object";
    case FieldKind::kMessages: return "array of messages";
    case FieldKind::kPrompt: return "string or array of token ids";
    case FieldKind::kAny: return "any";
  }
  return "";
}

// The one value that is served, as JSON; "" = no such rule.
std::string_view only_value(const Field& field) {
  if (field.apply == apply_only_false) {
    return "false";
  }
  if (field.apply == apply_only_empty) {
    return "[]";
  }
  if (field.apply == apply_tool_choice) {
    return R"("none")";
  }
  if (field.apply == apply_response_format) {
    return R"({"type":"text"})";
  }
  return field.apply == apply_modalities ? R"(["text"])" : "";
}

std::string use_text(const Field& field) {
  if (field.use != FieldUse::kApplied) {
    return field.use == FieldUse::kIgnored ? "no effect" : "refused";
  }
  if (field.apply == apply_best_of) {
    return "only `n`";
  }
  const std::string_view only = only_value(field);
  return only.empty() ? "applied" : "only `" + std::string(only) + "`";
}

}  // namespace

std::string request_fields_markdown() {
  std::string text =
      "# Request fields of the OpenAI API\n\n"
      "Generated from the table in `src/proxy/fields.cc`; a test compares the two. What the fields "
      "mean: `docs/openai.md`;\n"
      "ranges, by the field of the gRPC API that the last column names: `docs/parameters.md`. "
      "`only x`: any other value is\n"
      "400 `unsupported_parameter`; `refused`: so is every value. A name ending in `*` is a "
      "family.\n\n"
      "| field | routes | type | use | gRPC field |\n| --- | --- | --- | --- | --- |\n";
  for (const Field& field : field_table()) {
    text += "| `" + std::string(field.name) + "` | ";
    text += std::string(routes_text(field.routes)) + " | ";
    text += std::string(kind_text(field.kind)) + " | " + use_text(field) + " | ";
    text += field.proto_path.empty() ? "" : "`" + std::string(field.proto_path) + "`";
    text += " |\n";
  }
  return text;
}

}  // namespace stet::proxy
