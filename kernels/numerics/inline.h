// Helpers on vector registers: never a call.
#pragma once

#define STET_INLINE static inline __attribute__((always_inline))
