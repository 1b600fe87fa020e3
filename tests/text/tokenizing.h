// From text to ids and back, for tests of both kinds of tokenizer.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "stet/text/tokenizer.h"

namespace stet::text {

inline constexpr size_t kNoLimit = SIZE_MAX;

inline std::shared_ptr<const Tokenizer> make(const TokenizerSpec& spec) {
  auto made = Tokenizer::create(spec);
  EXPECT_TRUE(made.ok()) << made.status().to_string();
  return made.ok() ? *made : nullptr;
}

inline std::string create_error(const TokenizerSpec& spec) {
  auto made = Tokenizer::create(spec);
  return made.ok() ? "created" : made.status().to_string();
}

inline std::vector<uint32_t> encode(const Tokenizer& tokenizer, std::vector<TextSegment> segments,
                                    bool add_special = false) {
  std::vector<uint32_t> ids;
  const Status status = tokenizer.encode(segments, add_special, kNoLimit, &ids);
  EXPECT_TRUE(status.ok()) << status.to_string();
  return ids;
}

}  // namespace stet::text
