// STET_CHECK(condition, "what was expected"): a broken invariant. Always on; prints file, line,
// condition and message, then aborts. STET_DCHECK is compiled only without NDEBUG: for checks that
// cost. Never for input: input gets a Status.
#pragma once

namespace stet {
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const char* message);
}  // namespace stet

#define STET_CHECK(condition, message)                                 \
  do {                                                                 \
    if (!(condition)) [[unlikely]] {                                   \
      ::stet::check_failed(__FILE__, __LINE__, #condition, (message)); \
    }                                                                  \
  } while (0)

#ifdef NDEBUG
#define STET_DCHECK(condition, message) \
  do {                                  \
  } while (0)
#else
#define STET_DCHECK(condition, message) STET_CHECK(condition, message)
#endif
