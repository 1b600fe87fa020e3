// Filter tojson as transformers defines it: json.dumps(x, ensure_ascii=False, indent, separators,
// sort_keys).
#include <algorithm>

#include "src/text/jinja_filters.h"
#include "src/text/jinja_interpreter.h"
#include "src/text/utf8.h"

namespace stet::text {
namespace {

struct JsonStyle {
  std::optional<OriginText> indent;  // one level
  OriginText item_separator{", ", Origin::kData}, key_separator{": ", Origin::kData};
  bool ensure_ascii = false, sort_keys = false;
};

class JsonWriter {
 public:
  JsonWriter(Interpreter& run, const JsonStyle& style) : run_(run), style_(style) {}

  void write(const Value& value, int level) {
    if (out_.size() > run_.max_text_bytes()) {
      throw JinjaError("a string has more than " + std::to_string(run_.max_text_bytes()) +
                       " bytes");
    }
    if (const OriginText* text = value.text()) {
      write_text(*text);
    } else if (const List* list = value.as_list();
               list != nullptr &&
               (list->kind == ListKind::kList || list->kind == ListKind::kTuple)) {
      write_list(*list, level);
    } else if (const Dict* dict = value.as_dict()) {
      write_dict(*dict, level);
    } else {
      put(scalar(value));
    }
  }
  OriginText take() { return std::move(out_); }

 private:
  void put(std::string_view text) { out_.append(text, Origin::kData); }

  static std::string scalar(const Value& value) {
    if (value.is_none()) {
      return "null";
    }
    if (const auto* b = value.get<bool>()) {
      return *b ? "true" : "false";
    }
    if (const auto* d = value.get<double>()) {
      const std::string text = float_repr(*d);
      return text == "nan"    ? "NaN"
             : text == "inf"  ? "Infinity"
             : text == "-inf" ? "-Infinity"
                              : text;
    }
    if (value.is_int()) {
      return std::to_string(*value.get<int64_t>());
    }
    throw JinjaError(value.is_undefined()
                         ? value.get<Undefined>()->what
                         : "a value of type '" + value.type_name() + "' has no JSON form");
  }

  void write_text(const OriginText& text) {
    put("\"");
    size_t plain = 0;  // begin of what needs no escape
    const std::string_view bytes = text.str();
    for (size_t at = 0; at < bytes.size();) {
      const auto byte = static_cast<uint8_t>(bytes[at]);
      if (byte >= 0x20 && byte != '"' && byte != '\\' && (byte < 0x7F || !style_.ensure_ascii)) {
        ++at;
        continue;
      }
      out_.append(text, plain, at);
      const Utf8Unit unit = decode_utf8(bytes.substr(at));
      out_.append(escape(unit.code_point), text.origin_at(at));
      at += unit.num_bytes;
      plain = at;
    }
    out_.append(text, plain, bytes.size());
    put("\"");
  }

  static std::string escape(char32_t c) {
    static constexpr std::string_view kPlain = "\"\\\n\r\t\f\b";
    static constexpr std::string_view kLetters = "\"\\nrtfb";
    if (const size_t found = c < 0x80 ? kPlain.find(static_cast<char>(c)) : std::string_view::npos;
        found != std::string_view::npos) {
      return {'\\', kLetters[found]};
    }
    char buffer[16];
    if (c < 0x10000) {
      std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(c));
    } else {
      const auto pair = static_cast<unsigned>(c) - 0x10000;
      std::snprintf(buffer, sizeof buffer, "\\u%04x\\u%04x", 0xD800 + (pair >> 10),
                    0xDC00 + (pair & 0x3FF));
    }
    return buffer;
  }

  void new_line(int level) {
    if (style_.indent) {
      put("\n");
      for (int i = 0; i < level; ++i) {
        out_.append(*style_.indent);
      }
    }
  }

  void write_list(const List& list, int level) {
    put("[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i != 0) {
        out_.append(style_.item_separator);
      }
      new_line(level + 1);
      write(list.items[i], level + 1);
    }
    if (!list.items.empty()) {
      new_line(level);
    }
    put("]");
  }

  void write_dict(const Dict& dict, int level) {
    std::vector<const std::pair<Value, Value>*> items;
    items.reserve(dict.items.size());
    for (const auto& item : dict.items) {
      items.push_back(&item);
    }
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [](const auto* a, const auto* b) { return less(a->first, b->first); });
    }
    put("{");
    for (size_t i = 0; i < items.size(); ++i) {
      if (i != 0) {
        out_.append(style_.item_separator);
      }
      new_line(level + 1);
      const Value& key = items[i]->first;
      write_text(key.text() != nullptr ? *key.text() : OriginText(scalar(key), Origin::kData));
      out_.append(style_.key_separator);
      write(items[i]->second, level + 1);
    }
    if (!items.empty()) {
      new_line(level);
    }
    put("}");
  }

  Interpreter& run_;
  const JsonStyle& style_;
  OriginText out_;
};

}  // namespace

Value filter_tojson(Interpreter& run, const Value& input, Args& args) {
  JsonStyle style;
  style.ensure_ascii = args.next_bool("ensure_ascii", false);
  const auto indent = args.next("indent");
  const auto separators = args.next("separators");
  style.sort_keys = args.next_bool("sort_keys", false);
  if (indent && !indent->is_none()) {
    if (indent->text() != nullptr) {
      style.indent = *indent->text();
    } else if (const int64_t spaces = integer_argument(*indent, "indent"); spaces <= 64) {
      style.indent = OriginText(std::string(static_cast<size_t>(std::max<int64_t>(spaces, 0)), ' '),
                                Origin::kData);
    } else {
      throw JinjaError("tojson: indent must be a string or at most 64");
    }
    style.item_separator = OriginText(",", Origin::kData);
  }
  if (separators && !separators->is_none()) {
    const List* pair = separators->as_list();
    if (pair == nullptr || pair->items.size() != 2 || pair->items[0].text() == nullptr ||
        pair->items[1].text() == nullptr) {
      throw JinjaError("tojson: separators must be two strings");
    }
    style.item_separator = *pair->items[0].text();
    style.key_separator = *pair->items[1].text();
  }
  run.charge_walk(input);
  JsonWriter writer(run, style);
  writer.write(input, 0);
  return run.text(writer.take());
}

}  // namespace stet::text
