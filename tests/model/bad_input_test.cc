// The grid of broken files: every field of the header x boundary values, every cut of the header
// and of each tensor's edge. Each either loads or gives one line; none crashes, hangs or asks for
// much memory. tests/e2e starts processes on a sample.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>

#include "tests/model/model_testing.h"

namespace stet::model {
namespace {

using stet::testing::GgufField;
using stet::testing::GgufFile;
using stet::testing::make_tiny_gguf_file;
using stet::testing::TinyModelSpec;

constexpr uint64_t kValues[] = {0, 1, uint64_t{1} << 31, uint64_t{1} << 63, ~uint64_t{0}};

// A small file keeps the number of cuts, and with it the test, small.
GgufFile small_file(const char* arch) {
  TinyModelSpec spec;
  spec.arch = arch;
  spec.vocab = 262;
  spec.context = 64;
  spec.width = 32;
  spec.ffn = 32;
  spec.heads = 2;
  spec.kv_heads = 1;
  return make_tiny_gguf_file(spec);
}

struct Tally {
  int loaded = 0;
  int refused = 0;
};

void try_file(const std::vector<std::byte>& bytes, const std::string& what, Tally* tally) {
  const auto begin = std::chrono::steady_clock::now();
  const Result<std::shared_ptr<const Model>> model = load_bytes(bytes);
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(std::chrono::duration_cast<std::chrono::seconds>(took).count(), 5) << what;
  if (model.ok()) {
    ++tally->loaded;
    return;
  }
  ++tally->refused;
  const std::string& message = model.status().message();
  EXPECT_EQ(model.status().code(), StatusCode::kDataLoss) << what;
  EXPECT_FALSE(message.empty()) << what;
  EXPECT_LT(message.size(), 600u) << what;
  EXPECT_EQ(message.find_first_of("\n\r"), std::string::npos) << what;
}

class BadInput : public ::testing::TestWithParam<const char*> {
 protected:
  void TearDown() override {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct rusage usage {};
    ASSERT_EQ(::getrusage(RUSAGE_SELF, &usage), 0);
    EXPECT_LT(usage.ru_maxrss, 256 * 1024) << "KiB of memory at the peak";
#endif
  }
};

TEST_P(BadInput, EveryHeaderFieldAtEveryBoundaryLoadsOrGivesOneLine) {
  const GgufFile file = small_file(GetParam());
  Tally tally;
  for (const GgufField& field : file.fields) {
    for (uint64_t value : kValues) {
      std::vector<std::byte> bytes = file.bytes;
      poke(&bytes, field, value);
      try_file(bytes, field.name + " = " + std::to_string(value), &tally);
    }
  }
  // The control: the grid is large and most of it is broken, so a parser that accepts all or
  // refuses all would show.
  EXPECT_GT(tally.refused, 1000);
  EXPECT_GT(tally.loaded, 10);
  Tally whole;
  try_file(file.bytes, "the whole file", &whole);
  EXPECT_EQ(whole.loaded, 1);
}

TEST_P(BadInput, EveryCutOfTheHeaderIsRefused) {
  const GgufFile file = small_file(GetParam());
  Tally tally;
  for (size_t num_bytes = 0; num_bytes <= file.header_bytes; ++num_bytes) {
    const std::vector<std::byte> cut(file.bytes.begin(),
                                     file.bytes.begin() + static_cast<ptrdiff_t>(num_bytes));
    try_file(cut, "cut at " + std::to_string(num_bytes), &tally);
  }
  EXPECT_EQ(tally.loaded, 0);
}

TEST_P(BadInput, EveryCutAtATensorsEdgeIsRefusedAndTheWholeLoads) {
  const GgufFile file = small_file(GetParam());
  Tally tally;
  for (size_t edge : file.data_edges) {
    for (size_t num_bytes : {edge - 1, edge, edge + 1}) {
      if (num_bytes >= file.bytes.size()) {
        continue;
      }
      const std::vector<std::byte> cut(file.bytes.begin(),
                                       file.bytes.begin() + static_cast<ptrdiff_t>(num_bytes));
      try_file(cut, "cut at " + std::to_string(num_bytes), &tally);
    }
  }
  EXPECT_EQ(tally.loaded, 0);
  EXPECT_GT(tally.refused, 50);
}

TEST_P(BadInput, FlippedBitsOfTheHeaderLoadOrGiveOneLine) {
  const GgufFile file = small_file(GetParam());
  Tally tally;
  uint64_t state = 12345;
  for (int i = 0; i < 2000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::vector<std::byte> bytes = file.bytes;
    bytes[(state >> 33) % file.header_bytes] ^= static_cast<std::byte>(1u << (state >> 30 & 7));
    try_file(bytes, "flip " + std::to_string(i), &tally);
  }
  EXPECT_GT(tally.refused, 100);
}

INSTANTIATE_TEST_SUITE_P(Architectures, BadInput, ::testing::Values("llama", "gemma3"),
                         [](const auto& arch) { return std::string(arch.param); });

}  // namespace
}  // namespace stet::model
