#define PCRE2_CODE_UNIT_WIDTH 8
#include "src/text/pre_tokenizer.h"

#include <pcre2.h>

#include <string>

namespace stet::text {
namespace {

// White space as Onigmo and Unicode's White_Space have it. Not \s: PCRE2 counts U+180E too.
#define STET_SPACE \
  R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})"

struct Rule {
  std::string_view name;
  const char* pattern;
  bool takes_whole_words = false;
};

// GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
constexpr const char* kGpt2 =
    "'(?:[stmd]|re|ve|ll)| ?\\p{L}++| ?\\p{N}++| ?[^" STET_SPACE "\\p{L}\\p{N}]++|[" STET_SPACE
    "]+(?![^" STET_SPACE "])|[" STET_SPACE "]++";

// SmolLM (Hugging Face: Digits(individual_digits) and then GPT-2; llama.cpp: \p{N}, then GPT-2):
// every digit is a piece of its own and the GPT-2 rule runs on what lies between, so a digit ends a
// run of spaces like the end of the text does.
constexpr const char* kSmolLm =
    "\\p{N}|'(?:[stmd]|re|ve|ll)| ?\\p{L}++| ?[^" STET_SPACE "\\p{L}\\p{N}]++|[" STET_SPACE
    "]+(?![^" STET_SPACE "\\p{N}])|[" STET_SPACE "]++";

// Llama 3: (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
//          ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// Qwen 2 the same with \p{N} alone: every digit is a piece of its own.
#define STET_LLAMA3(numbers)                                                               \
  "'(?i:[stmd]|re|ve|ll)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|" numbers "| ?[^" STET_SPACE      \
  "\\p{L}\\p{N}]++[\\r\\n]*+|[" STET_SPACE "]*[\\r\\n]+|[" STET_SPACE "]+(?![^" STET_SPACE \
  "])|[" STET_SPACE "]++"
constexpr const char* kLlama3 = STET_LLAMA3("\\p{N}{1,3}+");
constexpr const char* kQwen2 = STET_LLAMA3("\\p{N}");
#undef STET_LLAMA3
#undef STET_SPACE

// The names that llama.cpp's converter writes; a name must stand for one rule.
constexpr Rule kRules[] = {
    {"smollm", kSmolLm},          {"gpt-2", kGpt2},          {"gpt2", kGpt2},
    {"llama-bpe", kLlama3, true}, {"llama3", kLlama3, true}, {"qwen2", kQwen2},
    {"deepseek-r1-qwen", kQwen2}};

// The patterns are linear; these stop a match that is not, long before a text thread would be
// noticed missing.
constexpr uint32_t kMatchLimit = 50'000'000;  // one word may be the whole prompt
constexpr uint32_t kDepthLimit = 1'000;
constexpr uint32_t kHeapLimitKib = 1'024;

}  // namespace

struct PreTokenizer::Compiled {
  pcre2_code* code = nullptr;
  pcre2_match_context* limits = nullptr;  // read-only while matching
  bool jit = false;
  bool takes_whole_words = false;
  ~Compiled() {
    pcre2_match_context_free(limits);
    pcre2_code_free(code);
  }
};

struct PreTokenizer::Scan::MatchData {
  pcre2_match_data* data;
  explicit MatchData(const pcre2_code* code)
      : data(pcre2_match_data_create_from_pattern(code, nullptr)) {
    STET_CHECK(data != nullptr, "memory for a match");
  }
  ~MatchData() { pcre2_match_data_free(data); }
};

PreTokenizer::PreTokenizer(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
PreTokenizer::~PreTokenizer() = default;

bool PreTokenizer::takes_whole_words() const {
  return compiled_->takes_whole_words;
}

Result<std::unique_ptr<const PreTokenizer>> PreTokenizer::create(std::string_view name) {
  const Rule* found = nullptr;
  std::string known;
  for (const Rule& rule : kRules) {
    known += (known.empty() ? "'" : ", '") + std::string(rule.name) + "'";
    found = rule.name == name ? &rule : found;
  }
  if (found == nullptr) {
    return unimplemented("tokenizer.ggml.pre '" + std::string(name) +
                         "' is not supported (known: " + known + ")");
  }
  auto compiled = std::make_unique<Compiled>();
  compiled->takes_whole_words = found->takes_whole_words;
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled->code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(found->pattern), PCRE2_ZERO_TERMINATED,
      PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr);
  compiled->limits = pcre2_match_context_create(nullptr);
  if (compiled->code == nullptr || compiled->limits == nullptr) {
    return internal_error("pre-tokenizer pattern '" + std::string(name) + "': PCRE2 error " +
                          std::to_string(error) + " at offset " + std::to_string(offset));
  }
  pcre2_set_match_limit(compiled->limits, kMatchLimit);
  pcre2_set_depth_limit(compiled->limits, kDepthLimit);
  pcre2_set_heap_limit(compiled->limits, kHeapLimitKib);
  // Without JIT (hardened kernels forbid writable code pages) the interpreter gives the same words,
  // slower.
  compiled->jit = pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE) == 0;
  return std::unique_ptr<const PreTokenizer>(new PreTokenizer(std::move(compiled)));
}

PreTokenizer::Scan::Scan(const PreTokenizer& rules, std::string_view text)
    : rules_(rules), text_(text), match_(std::make_unique<MatchData>(rules.compiled_->code)) {}
PreTokenizer::Scan::~Scan() = default;

bool PreTokenizer::Scan::next(std::string_view* word) {
  if (at_ == text_.size()) {
    return false;
  }
  const Compiled& compiled = *rules_.compiled_;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data());
  const int rc = compiled.jit ? pcre2_jit_match(compiled.code, subject, text_.size(), at_, 0,
                                                match_->data, compiled.limits)
                              : pcre2_match(compiled.code, subject, text_.size(), at_,
                                            PCRE2_NO_UTF_CHECK, match_->data, compiled.limits);
  const PCRE2_SIZE end = rc > 0 ? pcre2_get_ovector_pointer(match_->data)[1] : 0;
  if (rc <= 0 || end <= at_) {
    status_ = internal_error("pre-tokenizer: PCRE2 answered " + std::to_string(rc) + " at byte " +
                             std::to_string(at_));
    return false;
  }
  *word = text_.substr(at_, end - at_);
  at_ = end;
  return true;
}

}  // namespace stet::text
