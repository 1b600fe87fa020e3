// Global functions.
#include <algorithm>
#include <ctime>

#include "src/text/jinja_filters.h"
#include "src/text/jinja_interpreter.h"
#include "src/text/jinja_strings.h"

namespace stet::text {
namespace {

Value range(Interpreter& run, Args& args) {
  const int64_t one = integer_argument(args.required("start"), "start");
  const auto two = args.next("stop");
  const int64_t step = args.next_int("step", 1);
  args.done("range");
  if (step == 0) {
    throw JinjaError("range: step cannot be zero");
  }
  const int64_t begin = two ? one : 0;
  const int64_t end = two ? integer_argument(*two, "stop") : one;
  const auto distance = static_cast<__int128>(end) - begin;
  const auto count = (distance + (step > 0 ? step - 1 : step + 1)) / step;
  constexpr int64_t kMaxRange = 100'000;  // Jinja's sandbox: MAX_RANGE
  if ((distance > 0) == (step > 0) && count > kMaxRange) {
    throw JinjaError("range is longer than " + std::to_string(kMaxRange));
  }
  std::vector<Value> items;
  for (int64_t at = begin; step > 0 ? at < end : at > end;) {
    items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) {
      break;
    }
  }
  run.charge(items.size());
  return run.list(std::move(items), ListKind::kRange);
}

void fill(Interpreter& run, Args& args, Dict* dict, const char* callee) {
  if (const auto from = args.next("")) {
    const auto pairs =
        from->as_dict() == nullptr ? run.iterate(*from) : std::make_shared<const List>();
    for (const Value& pair : pairs->items) {
      const auto parts = run.iterate(pair);
      if (parts->items.size() != 2) {
        throw JinjaError(std::string(callee) + ": expected pairs of a key and a value");
      }
      run.charge_lookup(*dict, parts->items[0]);
      dict->set(parts->items[0], parts->items[1]);
    }
    if (from->as_dict() != nullptr) {
      run.charge(from->as_dict()->items.size() / 4);
      for (const auto& [key, value] : from->as_dict()->items) {
        run.charge_lookup(*dict, key);
        dict->set(key, value);
      }
    }
  }
  for (auto& [name, value] : args.rest_named()) {
    dict->set(OriginText(name, Origin::kTemplate), value);
  }
  args.done(callee);
}

Value make_namespace(Interpreter& run, Args& args) {
  Namespace* made = run.new_namespace();
  fill(run, args, &made->attributes, "namespace");
  return made;
}

Value make_dict(Interpreter& run, Args& args) {
  auto made = std::make_shared<Dict>();
  fill(run, args, made.get(), "dict");
  return std::shared_ptr<const Dict>(std::move(made));
}

Value raise_exception(Interpreter& run, Args& args) {
  const std::string message = run.to_text(args.required("message")).str();
  args.done("raise_exception");
  throw TemplateRefusal(message);
}

// The process runs in the "C" locale, so names of days and months are English.
Value strftime_now(Interpreter& run, Args& args) {
  const OriginText format = run.to_text(args.required("format"));
  args.done("strftime_now");
  const auto now = static_cast<time_t>(run.now_unix_s());
  std::tm broken{};
  char buffer[512];
  if (format.size() > 128 || gmtime_r(&now, &broken) == nullptr) {
    throw JinjaError(
        "strftime_now: the format is longer than 128 bytes or the time is out of range");
  }
  const size_t written = std::strftime(buffer, sizeof buffer, format.str().c_str(), &broken);
  if (written == 0 && !format.empty()) {
    throw JinjaError("strftime_now: the format gives nothing or too much");
  }
  return OriginText(std::string_view(buffer, written), Origin::kData);
}

constexpr Function kFunctions[] = {
    {"range", range},
    {"namespace", make_namespace},
    {"dict", make_dict},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
};

}  // namespace

const Function* find_function(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                   [name](const Function& one) { return one.name == name; });
  return found == std::end(kFunctions) ? nullptr : found;
}

}  // namespace stet::text
