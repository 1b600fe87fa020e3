// Stop strings: which match wins, what is withheld, and that neither depends on how the text comes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "stet/text/detokenizer.h"

namespace stet::text {
namespace {

struct Outcome {
  std::string sent;
  std::string stop;  // empty: none
  size_t index = SIZE_MAX;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  return out << "'" << o.sent << "' stop '" << o.stop << "' " << o.index;
}

Outcome run(const std::vector<std::string>& stops, const std::vector<std::string>& pieces,
            bool include = false) {
  StopMatcher matcher(stops, include);
  Outcome outcome;
  for (const std::string& piece : pieces) {
    if (const auto match = matcher.feed(piece, &outcome.sent)) {
      EXPECT_EQ(outcome.stop, "") << "one match only";
      outcome.stop = match->stop;
      outcome.index = match->string_index;
    }
  }
  matcher.finish(&outcome.sent);
  return outcome;
}

// The rule, word for word, in quadratic time: the first byte at which some stop string is complete;
// of those the longest, and of equal ones the first of the list.
Outcome oracle(const std::vector<std::string>& stops, const std::string& text, bool include) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < stops.size(); ++i) {
      const bool complete = end >= stops[i].size() &&
                            text.compare(end - stops[i].size(), stops[i].size(), stops[i]) == 0;
      if (complete && (best == SIZE_MAX || stops[i].size() > stops[best].size())) {
        best = i;
      }
    }
    if (best != SIZE_MAX) {
      return {text.substr(0, include ? end : end - stops[best].size()), stops[best], best};
    }
  }
  return {text, "", SIZE_MAX};
}

// The longest suffix of `text` that is a proper prefix of a stop string.
size_t withheld(const std::vector<std::string>& stops, const std::string& text) {
  size_t longest = 0;
  for (const std::string& stop : stops) {
    for (size_t n = 1; n < stop.size() && n <= text.size(); ++n) {
      if (text.compare(text.size() - n, n, stop, 0, n) == 0) {
        longest = std::max(longest, n);
      }
    }
  }
  return longest;
}

TEST(StopMatcher, TheEarliestEndWinsThenTheLongest) {
  EXPECT_EQ(run({"cd", "b"}, {"abcd"}), (Outcome{"a", "b", 1}));
  EXPECT_EQ(run({"c", "abc", "bc"}, {"xabc"}), (Outcome{"x", "abc", 1}));
  // "abcd" begins earlier but "bc" is complete earlier: no token is computed in hope of "abcd".
  EXPECT_EQ(run({"abcd", "bc"}, {"abcd"}), (Outcome{"a", "bc", 1}));
  EXPECT_EQ(run({"aa"}, {"aaa"}), (Outcome{"", "aa", 0}));
  EXPECT_EQ(run({"ab", "ab"}, {"ab"}), (Outcome{"", "ab", 0})) << "of equal ones the first";
}

TEST(StopMatcher, AMatchMayCrossAnyNumberOfPieces) {
  EXPECT_EQ(run({"END"}, {"one E", "N", "", "D two"}), (Outcome{"one ", "END", 0}));
  EXPECT_EQ(run({"\n\n"}, {"a\n", "\nb"}), (Outcome{"a", "\n\n", 0}));
  EXPECT_EQ(run({"aab"}, {"a", "a", "a", "b"}), (Outcome{"a", "aab", 0})) << "an overlapping start";
}

TEST(StopMatcher, IncludedStopStringsAreSentAndNothingBehindThem) {
  EXPECT_EQ(run({"END"}, {"one E", "ND two"}, true), (Outcome{"one END", "END", 0}));
  EXPECT_EQ(run({"c", "abc"}, {"xab", "cd"}, true), (Outcome{"xabc", "abc", 1}));
}

TEST(StopMatcher, WhatIsWithheldComesAtTheEndUnlessItMatched) {
  StopMatcher matcher({"stop"}, false);
  std::string out;
  EXPECT_FALSE(matcher.feed("a sto", &out));
  EXPECT_EQ(out, "a ");
  matcher.finish(&out);
  EXPECT_EQ(out, "a sto");
  matcher.finish(&out);
  EXPECT_EQ(out, "a sto");
}

TEST(StopMatcher, AfterAMatchNothingIsAccepted) {
  StopMatcher matcher({"x"}, false);
  std::string out;
  EXPECT_TRUE(matcher.feed("ax", &out));
  EXPECT_FALSE(matcher.feed("bx", &out));
  matcher.finish(&out);
  EXPECT_EQ(out, "a");
}

TEST(StopMatcher, WithoutStopStringsEverythingPassesAtOnce) {
  StopMatcher matcher({}, false);
  EXPECT_TRUE(matcher.empty());
  std::string out;
  EXPECT_FALSE(matcher.feed("anything", &out));
  EXPECT_EQ(out, "anything");
  EXPECT_FALSE(StopMatcher({"x"}, false).empty());
}

TEST(StopMatcher, StopStringsMayBeginInsideACharacter) {  // bytes are bytes: no special case
  EXPECT_EQ(run({"\u00e9"}, {"caf\xC3", "\xA9!"}), (Outcome{"caf", "\u00e9", 0}));
}

TEST(StopMatcher, LongStopStringsOverLongTextAreLinear) {
  const std::string stop = std::string(2000, 'a') + "b";
  const std::string text(1u << 20, 'a');
  EXPECT_EQ(run({stop}, {text}).sent, text);
  EXPECT_EQ(run({stop}, {text, "b"}).sent, text.substr(2000));
}

// Every list of up to two stop strings and every text over {a, b}, fed byte by byte: exhaustive.
TEST(StopMatcher, SmallWorldsEqualTheRuleAndWithholdExactlyWhatMayStillMatch) {
  std::vector<std::string> words;
  for (size_t length = 1; length <= 3; ++length) {
    for (uint32_t bits = 0; bits < (1u << length); ++bits) {
      std::string& word = words.emplace_back();
      for (size_t i = 0; i < length; ++i) {
        word += (bits >> i & 1) != 0 ? 'b' : 'a';
      }
    }
  }
  for (const std::string& first : words) {
    for (const std::string& second : words) {
      const std::vector<std::string> stops = {first, second};
      for (uint32_t bits = 0; bits < (1u << 7); ++bits) {
        std::string text;
        StopMatcher matcher(stops, false);
        std::string out;
        bool matched = false;
        for (size_t i = 0; i < 7 && !matched; ++i) {
          text += (bits >> i & 1) != 0 ? 'b' : 'a';
          matched = matcher.feed(text.substr(text.size() - 1), &out).has_value();
          if (!matched) {
            ASSERT_EQ(out, text.substr(0, text.size() - withheld(stops, text)));
          }
        }
        matcher.finish(&out);
        ASSERT_EQ(out, oracle(stops, text, false).sent) << first << ' ' << second << ' ' << text;
      }
    }
  }
}

TEST(StopMatcher, RandomStopsAndCutsEqualTheRule) {
  std::mt19937 random(20260801);
  const auto word = [&random](size_t most, uint32_t letters) {
    std::string made(1 + random() % most, 'a');
    for (char& c : made) {
      c = static_cast<char>('a' + random() % letters);
    }
    return made;
  };
  size_t num_matched = 0;
  for (int round = 0; round < 30'000; ++round) {
    const uint32_t letters = 1 + random() % 3;
    std::vector<std::string> stops(1 + random() % 5);
    for (std::string& stop : stops) {
      stop = word(6, letters);
    }
    const std::string text = word(40, letters + 1);  // one letter that is in no stop string
    std::vector<std::string> pieces(1);
    for (const char c : text) {
      if (random() % 3 == 0) {
        pieces.emplace_back();
      }
      pieces.back() += c;
    }
    const bool include = random() % 2 == 0;
    const Outcome outcome = run(stops, pieces, include);
    ASSERT_EQ(outcome, oracle(stops, text, include))
        << testing::PrintToString(stops) << " over " << testing::PrintToString(pieces);
    num_matched += outcome.stop.empty() ? 0 : 1;
  }
  EXPECT_GT(num_matched, 5'000u);
  EXPECT_LT(num_matched, 29'000u);
}

}  // namespace
}  // namespace stet::text
