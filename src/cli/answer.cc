#include "src/cli/answer.h"

#include "src/cli/commands.h"
#include "stet/v1/inference.pb.h"

namespace stet::cli {

std::string figures_of(const v1::Summary& summary) {
  const v1::Usage& usage = summary.usage();
  const v1::Timings& timings = summary.timings();
  char text[200];
  std::string figures = std::to_string(usage.completion_tokens()) + " tokens";
  // The first token belongs to the prompt's computation; the others came in decode_us.
  if (usage.completion_tokens() > 1 && timings.decode_us() > 0) {
    const double per_second =
        (usage.completion_tokens() - 1) * 1e6 / static_cast<double>(timings.decode_us());
    std::snprintf(text, sizeof text, ", %.1f tokens/s", per_second);
    figures += text;
  }
  std::snprintf(text, sizeof text, ", first token after %.0f ms, prompt of %u tokens",
                static_cast<double>(timings.first_token_us()) / 1000, usage.prompt_tokens());
  figures += text;
  if (usage.cached_prompt_tokens() > 0) {
    figures += " (" + std::to_string(usage.cached_prompt_tokens()) + " cached)";
  }
  return figures;
}

void AnswerPrinter::on_event(const v1::GenerateResponse& event) {
  if (event.has_delta()) {
    text_ += event.delta().text();
    std::fwrite(event.delta().text().data(), 1, event.delta().text().size(), out_);
    std::fflush(out_);
  } else if (event.has_summary()) {
    figures_ = figures_of(event.summary());
  }
}

int report(const Status& status) {
  if (status.ok()) {
    return kExitOk;
  }
  std::fprintf(stderr, "stet: %s\n", status.message().c_str());
  return status.code() == StatusCode::kUnavailable ? kExitUnavailable : kExitFailed;
}

}  // namespace stet::cli
