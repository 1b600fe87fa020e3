#include "src/cli/top_frame.h"

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "stet/v1/admin.pb.h"

namespace stet::cli {
namespace {

constexpr size_t kColumns = 80;
constexpr uint64_t kBarCells = 30;

__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...) {
  char text[256];
  va_list args;
  va_start(args, pattern);
  std::vsnprintf(text, sizeof text, pattern, args);
  va_end(args);
  return text;
}

std::string line(std::string text) {
  text.resize(std::min(text.size(), kColumns));
  return text + "\n";
}

unsigned long long whole(uint64_t n) {
  return n;
}

unsigned percent(uint64_t part, uint64_t all) {
  return all == 0 ? 0 : static_cast<unsigned>((100 * part + all / 2) / all);
}

double ms(uint64_t us) {
  return static_cast<double>(us) / 1000;
}

// Of totals; a daemon that was started anew between the two gives 0.
struct Rates {
  Rates(const v1::Stats& before, const v1::Stats& now)
      : seconds(static_cast<double>(now.unix_ms() - before.unix_ms()) / 1000) {}
  double of(uint64_t before, uint64_t now) const {
    return seconds > 0 && now >= before ? static_cast<double>(now - before) / seconds : 0.0;
  }
  double seconds;
};

// [####++++..]: used, what the forecast adds, free or cached.
std::string bar(const v1::Stats& s) {
  const uint64_t total = std::max<uint64_t>(s.kv_blocks_total(), 1);
  const auto cells = [&](uint64_t blocks) {
    return std::min(kBarCells, (blocks * kBarCells + total - 1) / total);
  };
  const uint64_t used = cells(s.kv_blocks_used());
  const uint64_t peak = std::max(used, cells(s.predicted_peak_kv_blocks()));
  return "[" + std::string(used, '#') + std::string(peak - used, '+') +
         std::string(kBarCells - peak, '.') + "]";
}

std::string memory_lines(const v1::Stats& s) {
  std::string out =
      line("kv        " + bar(s) +
           format(" %u %% of %u blocks of %u", percent(s.kv_blocks_used(), s.kv_blocks_total()),
                  s.kv_blocks_total(), s.kv_block_tokens()));
  std::string more =
      format("          cached %u %%", percent(s.kv_blocks_cached(), s.kv_blocks_total()));
  more += s.predicted_peak_kv_blocks() == 0
              ? ", no forecast"
              : format(", forecast peak (+) %u %%",
                       percent(s.predicted_peak_kv_blocks(), s.kv_blocks_total()));
  return out + line(more + format(", preemptions %llu", whole(s.preemptions())));
}

std::string step_lines(const v1::Stats& s) {
  const v1::StepStats& step = s.last_step();
  std::string out = line(format("step      %.1f ms, predicted %.1f; error p50 %.0f %%, p99 %.0f %%",
                                ms(step.actual_us()), ms(step.predicted_us()),
                                100 * s.step_error_p50(), 100 * s.step_error_p99()));
  std::string budget = format("budget    %u of %u tokens: %u decodes, %u prefill", step.tokens(),
                              step.token_budget(), step.decodes(), step.prefill_tokens());
  if (step.itl_limit_us() != 0) {
    budget += format("; limit %.1f ms", ms(step.itl_limit_us()));
  }
  return out + line(budget);
}

std::string goodput_line(const v1::Stats& before, const v1::Stats& now, const Rates& rates) {
  if (now.requests_with_targets() == 0) {
    return line("goodput   no request had a target (scheduler.ttft_target_ms, itl_target_ms)");
  }
  return line(format("goodput   %.2f of %.2f requests/s met their targets; %llu of %llu in all",
                     rates.of(before.requests_met_targets(), now.requests_met_targets()),
                     rates.of(before.requests_with_targets(), now.requests_with_targets()),
                     whole(now.requests_met_targets()), whole(now.requests_with_targets())));
}

}  // namespace

std::string top_frame(const std::string& address, const v1::Stats& before, const v1::Stats& now) {
  const Rates rates(before, now);
  const v1::WaitingByReason& waiting = now.waiting_by_reason();
  const uint64_t prompts =
      now.prompt_tokens() - std::min(before.prompt_tokens(), now.prompt_tokens());
  const uint64_t hits = now.cached_prompt_tokens() -
                        std::min(before.cached_prompt_tokens(), now.cached_prompt_tokens());
  std::string out =
      line("stet top  " + address +
           format("  step %llu, %.1f/s, last %u ms ago", whole(now.engine_steps()),
                  rates.of(before.engine_steps(), now.engine_steps()), now.since_last_step_ms()));
  out += line(format("running   %u, parked %u", now.running(), now.parked()));
  out += line(format("waiting   %u (%llu prompt tokens)", now.waiting(),
                     whole(now.waiting_prompt_tokens())));
  out += line(format("          memory %u, running limit %u, step budget %u, sibling %u",
                     waiting.memory(), waiting.running_limit(), waiting.step_budget(),
                     waiting.sibling()));
  out += memory_lines(now);
  out += line(format("prompt    %.1f tokens/s, hit rate %u %%; %u %% in all",
                     rates.of(before.prompt_tokens(), now.prompt_tokens()), percent(hits, prompts),
                     percent(now.cached_prompt_tokens(), now.prompt_tokens())));
  out += line(format("output    %.1f tokens/s, %.2f requests/s ended",
                     rates.of(before.generated_tokens(), now.generated_tokens()),
                     rates.of(before.requests_ended(), now.requests_ended())));
  return out + goodput_line(before, now, rates) + step_lines(now);
}

}  // namespace stet::cli
