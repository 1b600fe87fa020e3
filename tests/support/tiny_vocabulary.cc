#include "tests/support/tiny_vocabulary.h"

#include <map>
#include <utility>

#include "stet/base/check.h"

namespace stet::testing {
namespace {

constexpr char kText[] =
    "the capital of france is paris and the capital of italy is rome . a server takes requests and "
    "gives answers , "
    "one token after another . what is the answer ? hello there , how are you today ? the model "
    "reads the prompt , "
    "then it writes . in the beginning there was a small machine with two cores ; it was slow but "
    "it was exact . "
    "The quick brown fox jumps over the lazy dog . You are a helpful assistant . user system "
    "content message time "
    "once upon a time there lived a king who had three daughters , and the youngest was the "
    "kindest of them all . "
    "water flows down the mountain into the river and the river carries it to the sea where it "
    "waits for the sun . ";

using Word = std::vector<uint32_t>;  // token ids
using Pair = std::pair<uint32_t, uint32_t>;
constexpr uint32_t kNumSpecials = 3;

std::string utf8(uint32_t code_point) {
  if (code_point < 0x80) {
    return {static_cast<char>(code_point)};
  }
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 63))};
}

// Words with their leading space, as pre-tokenizers cut them; each a list of byte tokens.
std::vector<Word> split_words() {
  std::vector<Word> words;
  for (const char* c = kText; *c != '\0'; ++c) {
    if (*c == ' ' || words.empty()) {
      words.emplace_back();
    }
    words.back().push_back(kNumSpecials + static_cast<uint8_t>(*c));
  }
  return words;
}

// The most frequent pair (lowest ids among equals); a count of 0 when nothing is left to merge.
std::pair<Pair, int> best_pair(const std::vector<Word>& words) {
  std::map<Pair, int> counts;
  for (const Word& word : words) {
    for (size_t i = 1; i < word.size(); ++i) {
      ++counts[{word[i - 1], word[i]}];
    }
  }
  std::pair<Pair, int> best{{}, 0};
  for (const auto& [pair, count] : counts) {
    if (count > best.second) {
      best = {pair, count};
    }
  }
  return best;
}

void merge_everywhere(Pair pair, uint32_t merged, std::vector<Word>* words) {
  for (Word& word : *words) {
    size_t kept = 0;
    for (size_t i = 0; i < word.size(); ++i) {
      const bool hit = i + 1 < word.size() && word[i] == pair.first && word[i + 1] == pair.second;
      word[kept++] = hit ? merged : word[i];
      i += hit ? 1 : 0;
    }
    word.resize(kept);
  }
}

}  // namespace

std::string gpt2_byte_text(uint8_t byte) {
  // Printable Latin-1 stands for itself; the others follow from 256 on, in order. GPT-2 (2019),
  // encoder.py.
  auto stands_for_itself = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  if (stands_for_itself(byte)) {
    return utf8(byte);
  }
  uint32_t rank = 0;
  for (int b = 0; b < byte; ++b) {
    rank += stands_for_itself(b) ? 0 : 1;
  }
  return utf8(256 + rank);
}

TinyVocabulary make_tiny_vocabulary(uint32_t vocab_size) {
  constexpr int32_t kNormal = 1;
  constexpr int32_t kControl = 3;
  constexpr int32_t kUnused = 5;
  TinyVocabulary vocabulary;
  auto add = [&](std::string token, int32_t type) {
    vocabulary.tokens.push_back(std::move(token));
    vocabulary.types.push_back(type);
  };
  for (const char* name : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
    add(name, kControl);
  }
  for (int byte = 0; byte < 256; ++byte) {
    add(gpt2_byte_text(static_cast<uint8_t>(byte)), kNormal);
  }
  STET_CHECK(vocab_size >= vocabulary.tokens.size(),
             "a tiny vocabulary has 3 specials and 256 bytes at least");
  std::vector<Word> words = split_words();
  while (vocabulary.tokens.size() < vocab_size) {
    const auto [pair, count] = best_pair(words);
    if (count == 0) {
      add("<|unused_" + std::to_string(vocabulary.tokens.size()) + "|>", kUnused);
      continue;
    }
    const auto id = static_cast<uint32_t>(vocabulary.tokens.size());
    const std::string left = vocabulary.tokens[pair.first];
    const std::string right = vocabulary.tokens[pair.second];
    vocabulary.merges.push_back(left + " " + right);
    add(left + right, kNormal);
    merge_everywhere(pair, id, &words);
  }
  return vocabulary;
}

TinyPieces make_tiny_pieces(uint32_t vocab_size) {
  constexpr int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5,
                    kByte = 6;
  TinyPieces pieces;
  auto add = [&](std::string token, int32_t type) {
    pieces.scores.push_back(-static_cast<float>(pieces.tokens.size()));
    pieces.tokens.push_back(std::move(token));
    pieces.types.push_back(type);
  };
  add("<unk>", kUnknown);
  for (const char* name : {"<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"}) {
    add(name, kControl);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char* digits = "0123456789ABCDEF";
    add(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", kByte);
  }
  add("\n", kUserDefined);
  for (const char* piece : {"\u2581", "e", "t", "he", "th", "the", "\u2581t", "\u2581the", "in",
                            "\u2581a", "er", "on", "re"}) {
    add(piece, kNormal);
  }
  STET_CHECK(vocab_size >= pieces.tokens.size(), "a tiny vocabulary has 275 pieces at least");
  while (pieces.tokens.size() < vocab_size) {
    add("<unused" + std::to_string(pieces.tokens.size()) + ">", kUnused);
  }
  return pieces;
}

}  // namespace stet::testing
