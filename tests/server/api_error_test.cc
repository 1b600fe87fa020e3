#include "src/server/api_error.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "google/rpc/error_details.pb.h"
#include "stet/text/detokenizer.h"
#include "tests/server/fakes.h"

namespace stet::server {
namespace {

TEST(ApiError, DetailsFitIntoAHeader) {
  std::vector<Violation> violations;
  for (int i = 0; i < 40; ++i) {
    violations.push_back({reason::kOutOfRange, std::string(300, 'f'), std::string(1000, 'd')});
  }
  ApiError error(std::move(violations));
  error.request_id(std::string(128, 'i')).metadata("a", std::string(100, 'm'));
  const google::rpc::Status status = error.build();
  EXPECT_LE(status.ByteSizeLong(), kMaxDetailBytes);
  EXPECT_GE(detail_of<google::rpc::BadRequest>(status).field_violations_size(), 5);
}

TEST(ApiError, ClippedTextIsValidUtf8) {
  EXPECT_EQ(clipped("abc", 3), "abc");
  EXPECT_EQ(clipped("abcdef", 5), "ab...");
  const std::string umlauts = "\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4";
  for (size_t max = 3; max < 9; ++max) {
    EXPECT_TRUE(text::is_valid_utf8(clipped(umlauts, max))) << max;
    EXPECT_LE(clipped(umlauts, max).size(), std::max<size_t>(max, 3)) << max;
  }
}

TEST(ApiError, RetryHintsAreBetweenASecondAndAMinute) {
  for (const auto& [us, seconds] :
       {std::pair<uint64_t, int>{1, 1}, {30'500'000, 30}, {UINT64_MAX, 60}}) {
    ApiError error(StatusCode::kUnavailable, reason::kLoading, "x");
    const auto status = error.retry_after_us(us).build();
    EXPECT_EQ(detail_of<google::rpc::RetryInfo>(status).retry_delay().seconds(), seconds);
  }
}

TEST(ApiError, EveryReasonIsDocumentedAndNoneBeyond) {
  std::ifstream file(std::string(STET_SOURCE_DIR) + "/docs/errors.md");
  ASSERT_TRUE(file.good()) << "docs/errors.md is missing";
  std::string line;
  std::set<std::string> documented;
  while (std::getline(file, line)) {
    if (line.starts_with("| `")) {
      documented.insert(line.substr(3, line.find('`', 3) - 3));
    }
  }
  const std::set<std::string> known(reason::kAll.begin(), reason::kAll.end());
  EXPECT_EQ(documented, known);
}

}  // namespace
}  // namespace stet::server
