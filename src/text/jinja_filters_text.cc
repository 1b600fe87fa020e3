// Filters that make strings of strings.
#include <algorithm>

#include "src/text/jinja_case.h"
#include "src/text/jinja_filters.h"
#include "src/text/jinja_interpreter.h"
#include "src/text/jinja_strings.h"

namespace stet::text {
namespace {

template <Case kHow>
Value cased(Interpreter& run, const Value& input, Args&) {
  const OriginText text = run.to_text(input);
  run.charge(text.size() / kCaseBytesPerStep);
  return run.text(change_case(text, kHow));
}

Value trim(Interpreter& run, const Value& input, Args& args) {
  const auto chars = args.next_text("chars");
  return run.text(strip(run.to_text(input), chars ? &*chars : nullptr, true, true));
}

Value replace_filter(Interpreter& run, const Value& input, Args& args) {
  const OriginText from = run.to_text(args.required("old"));
  const OriginText to = run.to_text(args.required("new"));
  const auto count = args.next("count");
  const int64_t max_count = !count || count->is_none() ? -1
                            : count->is_int()          ? *count->get<int64_t>()
                                                       : 0;
  const OriginText text = run.to_text(input);
  // Checked before the work: the result may be |text| x |to| long.
  const size_t most = std::min(from.empty() ? text.size() + 1 : text.size() / from.size(),
                               max_count < 0 ? SIZE_MAX : static_cast<size_t>(max_count));
  if (!to.empty() && most > run.max_text_bytes() / to.size() && to.size() > from.size()) {
    run.charge(most * to.size() / 1024);
  }
  return run.text(replace(text, from, to, max_count));
}

Value indent(Interpreter& run, const Value& input, Args& args) {
  const auto width = args.next("width");
  const bool first = args.next_bool("first", false);
  const bool blank = args.next_bool("blank", false);
  OriginText indention("    ", Origin::kData);
  if (width && width->text() != nullptr) {
    indention = *width->text();
  } else if (width) {
    const auto* spaces = width->get<int64_t>();
    if (spaces == nullptr || *spaces < 0 || *spaces > 1024) {
      throw JinjaError("indent: width must be a string or 0 to 1024");
    }
    indention = OriginText(std::string(static_cast<size_t>(*spaces), ' '), Origin::kData);
  }
  if (input.text() == nullptr) {
    throw JinjaError("indent needs a string, not '" + input.type_name() + "'");
  }
  OriginText text = run.to_text(input);
  text.append("\n", Origin::kData);  // as Jinja does: an empty last line stays one
  const auto lines = split_lines(text, false);
  run.charge(lines.size() * (1 + indention.size() / 64));
  OriginText out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i != 0) {
      out.append("\n", Origin::kData);
    }
    if (i == 0 ? first : (blank || !lines[i].empty())) {
      out.append(indention);
    }
    out.append(lines[i]);
  }
  return run.text(std::move(out));
}

Value string(Interpreter& run, const Value& input, Args&) {
  return run.text(run.to_text(input));
}

// Marks HTML as safe in Jinja; without auto-escaping the text is what it was.
Value safe(Interpreter& run, const Value& input, Args& args) {
  return string(run, input, args);
}

constexpr Filter kTextFilters[] = {
    {"upper", cased<Case::kUpper>},
    {"lower", cased<Case::kLower>},
    {"title", cased<Case::kJinjaTitle>},
    {"capitalize", cased<Case::kCapitalize>},
    {"trim", trim},
    {"replace", replace_filter},
    {"indent", indent},
    {"string", string},
    {"safe", safe},
    {"tojson", filter_tojson},
};

}  // namespace

std::span<const Filter> text_filters() {
  return kTextFilters;
}

}  // namespace stet::text
