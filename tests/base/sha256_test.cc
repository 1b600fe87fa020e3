// Known answers: FIPS 180-2 appendix B and the NIST examples; `sha256sum` gives the same.
#include "stet/base/sha256.h"

#include <gtest/gtest.h>

namespace stet {
namespace {

std::string hex_of(std::string_view text) {
  return to_hex(sha256(std::as_bytes(std::span(text))));
}

constexpr char kEmpty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Sha256, GivesTheKnownAnswers) {
  EXPECT_EQ(hex_of(""), kEmpty);
  EXPECT_EQ(hex_of("abc"), kAbc);
  EXPECT_EQ(hex_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hex_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheBytesAreCut) {
  const std::string text(200, 'x');  // over three blocks of 64 bytes
  const std::string whole = hex_of(text);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Sha256 hash;
    hash.update(std::string_view(text).substr(0, cut));
    hash.update(std::string_view(text).substr(cut));
    ASSERT_EQ(to_hex(hash.finish()), whole) << cut;
  }
}

TEST(Sha256, StartsAfreshAfterFinish) {
  Sha256 hash;
  hash.update("something else");
  hash.finish();
  EXPECT_EQ(to_hex(hash.finish()), kEmpty);
  hash.update("abc");
  EXPECT_EQ(to_hex(hash.finish()), kAbc);
}

// Lengths as 64-bit little endian around tag and value: written out, so that a change shows.
TEST(Sha256, AFieldIsItsTagAndValueEachWithItsLength) {
  Sha256 fields, plain;
  fields.update_field("tag", "value");
  plain.update(std::string_view("\x03\0\0\0\0\0\0\0tag\x05\0\0\0\0\0\0\0value", 24));
  EXPECT_EQ(fields.finish(), plain.finish());
}

TEST(Sha256, FieldsNeverTradeBytes) {
  const auto of = [](std::initializer_list<std::pair<std::string_view, std::string_view>> list) {
    Sha256 hash;
    for (const auto& [tag, value] : list) {
      hash.update_field(tag, value);
    }
    return to_hex(hash.finish());
  };
  const std::string first = of({{"ab", "c"}});
  EXPECT_NE(first, of({{"a", "bc"}}));
  EXPECT_NE(first, of({{"abc", ""}}));
  EXPECT_NE(first, of({{"ab", ""}, {"c", ""}}));
  EXPECT_NE(of({{"a", "1"}, {"b", "2"}}), of({{"b", "2"}, {"a", "1"}}));
  EXPECT_EQ(first, of({{"ab", "c"}}));
}

TEST(Hex, HasTwoLowerCaseDigitsPerByte) {
  EXPECT_EQ(to_hex({}), "");
  const uint8_t bytes[] = {0x00, 0x0f, 0xf0, 0xff, 0x5a};
  EXPECT_EQ(to_hex(bytes), "000ff0ff5a");
}

}  // namespace
}  // namespace stet
