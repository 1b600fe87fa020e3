#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/stet_process.h"
#include "tests/support/gguf_writer.h"

namespace stet::cli {
namespace {

using daemon::testing::TempDir;
using ::testing::AllOf;
using testing::Ended;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::run_stet;
using ::testing::StartsWith;

constexpr int kModelInvalid = 65, kModelMissing = 66;

TEST(Inspect, SaysWhatAFileHoldsAndWhatServingItNeeds) {
  const TempDir dir;
  const Ended ended = run_stet({"inspect", dir.write_model("tiny.gguf", {})});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, IsEmpty());
  EXPECT_THAT(ended.out, StartsWith("name               tiny\n"));
  for (const char* line : {"architecture       llama\n",
                           "quantisation       Q4_1\n",
                           "layers             3\n",
                           "width              64\n",
                           "feed-forward       128\n",
                           "heads              4 query, 2 key/value, 16 wide\n",
                           "context            2048 tokens\n",
                           "vocabulary         400 tokens, head tied\n",
                           ", GGUF v3\n",
                           "\ntensors\n",
                           "  Q4_1 ",
                           "  Q8_0 ",
                           "  F32 ",
                           "\nmemory\n",
                           "  KV per token       384 bytes (bf16)\n",  // 2 x 3 layers x 32 x 2
                           "\ntokenizer\n",
                           "  model              gpt2\n",
                           "  eos                2  <|im_end|>\n",
                           "\nchat template\n",
                           " bytes, understood\n"}) {
    EXPECT_THAT(ended.out, HasSubstr(line));
  }
  EXPECT_THAT(ended.out, Not(HasSubstr("add_generation_prompt")));
}

TEST(Inspect, ReadsTheOtherArchitectureAndShowsTheTemplateWhenAsked) {
  const TempDir dir;
  const Ended ended =
      run_stet({"inspect", dir.write_model("g.gguf", {.arch = "gemma3"}), "--template"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("architecture       gemma3\n"));
  EXPECT_THAT(ended.out, HasSubstr("{% if add_generation_prompt %}"));
}

TEST(Inspect, SaysHowSentencePieceAndAMissingTemplateAreTaken) {
  const TempDir dir;
  const Ended ended =
      run_stet({"inspect", dir.write_model("p.gguf", {.arch = "gemma3", .sentencepiece = true})});
  EXPECT_EQ(ended.code, 0) << ended.err;
  for (const char* line :
       {"  model              llama\n",
        "  kind               SentencePiece, no space is put in front of text\n",
        "  unknown            0  <unk>\n", "  none in the file: Gemma's turn format is used\n"}) {
    EXPECT_THAT(ended.out, HasSubstr(line));
  }
}

TEST(Inspect, ABrokenFileExits65WithOneLineThatNamesFileAndPlace) {
  const TempDir dir;
  stet::testing::GgufFile cut = stet::testing::make_tiny_gguf_file({});
  const auto as_text = [](const std::vector<std::byte>& bytes, size_t size) {
    return std::string(reinterpret_cast<const char*>(bytes.data()), size);
  };
  const std::pair<std::string, std::string> cases[] = {
      {"empty.gguf", ""},
      {"text.gguf", "This is no model.\n"},
      {"cut.gguf", as_text(cut.bytes, cut.header_bytes / 2)},
      {"no_data.gguf", as_text(cut.bytes, cut.header_bytes)},
  };
  for (const auto& [name, bytes] : cases) {
    const std::string path = dir.write(name, bytes);
    const Ended ended = run_stet({"inspect", path});
    EXPECT_EQ(ended.code, kModelInvalid) << name;
    EXPECT_THAT(ended.out, IsEmpty());
    EXPECT_THAT(ended.err, AllOf(StartsWith("stet: "), HasSubstr(path)));
    EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
  }
}

TEST(Inspect, AFileThatCannotBeReadExits66) {
  const TempDir dir;
  for (const std::string& path : {dir.file("none.gguf"), dir.path()}) {
    const Ended ended = run_stet({"inspect", path});
    EXPECT_EQ(ended.code, kModelMissing) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr(path));
  }
}

// A file may come from anybody: what it says is shown, not obeyed.
TEST(Inspect, TextOfAFileCannotCommandTheTerminal) {
  const TempDir dir;
  const Ended ended = run_stet({"inspect",
                                dir.write_model("t.gguf", {.name = "\x1b]0;gotcha\a\xc2\x9b"
                                                                   "2J\r\nline"}),
                                "--template"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("gotcha"));
  EXPECT_EQ(ended.out.find_first_of("\x1b\a\r"), std::string::npos) << ended.out;
  EXPECT_EQ(ended.out.find("\xc2\x9b"), std::string::npos) << ended.out;
}

}  // namespace
}  // namespace stet::cli
