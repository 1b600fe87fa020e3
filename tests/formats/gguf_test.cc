#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "stet/formats/tensor_index.h"
#include "tests/support/gguf_writer.h"

namespace stet::formats {
namespace {

using stet::testing::GgufFile;
using stet::testing::GgufWriter;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::byte> counting_bytes(size_t num_bytes) {
  std::vector<std::byte> bytes(num_bytes);
  for (size_t i = 0; i < num_bytes; ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + 1);
  }
  return bytes;
}

GgufWriter small_writer(uint32_t version = 3, uint32_t alignment = 32) {
  GgufWriter writer(version, alignment);
  writer.add_string("general.architecture", "none");
  writer.add_u32("answer", 42);
  writer.add_i32("below", -7);
  writer.add_f32("half", 0.5f);
  writer.add_bool("yes", true);
  const std::vector<std::string> words = {"a", "", "long enough to leave the small string"};
  writer.add_strings("words", words);
  const std::vector<int32_t> numbers = {3, -1};
  writer.add_i32s("numbers", numbers);
  writer.add_tensor("first", {5}, TensorType::kF32, counting_bytes(20));
  writer.add_tensor("second", {32, 2, 3}, TensorType::kQ4_1, counting_bytes(120));
  return writer;
}

// The message of a refusal, after checking what holds for every refusal: DATA_LOSS and one line.
std::string refusal(const std::vector<std::byte>& bytes) {
  const Result<TensorIndex> index = parse_gguf(bytes);
  EXPECT_FALSE(index.ok());
  EXPECT_EQ(index.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(index.status().message(), Not(HasSubstr("\n")));
  return index.status().message();
}

std::string refusal_of(const GgufFile& file, std::string_view field, uint64_t value) {
  std::vector<std::byte> bytes = file.bytes;
  poke(&bytes, file.field(field), value);
  return refusal(bytes);
}

TEST(Gguf, EveryKindOfMetadataComesBackAsWritten) {
  for (uint32_t version : {2u, 3u}) {
    const GgufFile file = small_writer(version).build();
    const Result<TensorIndex> index = parse_gguf(file.bytes);
    ASSERT_TRUE(index.ok()) << index.status().message();
    EXPECT_EQ(index.value().version, version);
    const TensorIndex& read = index.value();
    EXPECT_EQ(read.get_string("general.architecture").value(), "none");
    EXPECT_EQ(read.get_uint("answer").value(), 42u);
    EXPECT_EQ(read.get_float("answer").value(), 42.0);
    EXPECT_EQ(read.get_float("below").value(), -7.0);
    EXPECT_EQ(read.get_float("half").value(), 0.5);
    EXPECT_TRUE(read.get_bool("yes").value());
    const auto words = read.get_strings("words").value();
    EXPECT_THAT(std::vector<std::string>(words.begin(), words.end()),
                ::testing::ElementsAre("a", "", "long enough to leave the small string"));
    EXPECT_THAT(read.get_ints("numbers").value(), ::testing::ElementsAre(3, -1));
  }
}

TEST(Gguf, TensorsPointAtTheirOwnBytes) {
  const GgufFile file = small_writer().build();
  const Result<TensorIndex> index = parse_gguf(file.bytes);
  ASSERT_TRUE(index.ok());
  ASSERT_EQ(index.value().tensors.size(), 2u);
  const TensorInfo* first = index.value().find("first");
  const TensorInfo* second = index.value().find("second");
  ASSERT_TRUE(first != nullptr && second != nullptr);
  EXPECT_EQ(index.value().find("third"), nullptr);
  EXPECT_EQ(first->dims, std::vector<uint64_t>({5}));
  EXPECT_EQ(second->dims, std::vector<uint64_t>({32, 2, 3}));
  EXPECT_EQ(second->type, TensorType::kQ4_1);
  for (const auto& [tensor, num_bytes] :
       {std::pair(first, size_t{20}), std::pair(second, size_t{120})}) {
    const std::vector<std::byte> expected = counting_bytes(num_bytes);
    ASSERT_EQ(tensor->bytes.size(), num_bytes);
    EXPECT_EQ(std::memcmp(tensor->bytes.data(), expected.data(), num_bytes), 0);
    EXPECT_EQ(tensor->bytes.data(), file.bytes.data() + tensor->file_offset);
    EXPECT_EQ(tensor->file_offset % 32, 0u);
  }
}

TEST(Gguf, LookUpsNameKeyOffsetAndBothTypes) {
  const GgufFile file = small_writer().build();
  const TensorIndex index = parse_gguf(file.bytes).value();
  EXPECT_EQ(index.get_uint("absent").status().message(), "metadata 'absent' is missing");
  const std::string at = std::to_string(file.field("type of yes").offset);
  EXPECT_EQ(index.get_uint("yes").status().message(),
            "metadata 'yes' at offset " + at + ": found boolean, expected unsigned integer");
  EXPECT_THAT(index.get_uint("below").status().message(),
              HasSubstr("found -7, expected 0 or more"));
  EXPECT_THAT(index.get_strings("numbers").status().message(),
              HasSubstr("found array of integers, expected array of strings"));
}

TEST(Gguf, MagicAndVersionAreChecked) {
  const GgufFile file = small_writer().build();
  EXPECT_EQ(refusal_of(file, "magic", 0x46554746),
            "magic at offset 0: found 'FGUF', expected 'GGUF'");
  EXPECT_EQ(refusal_of(file, "version", 1), "version at offset 4: found 1, expected 2 or 3");
  EXPECT_EQ(refusal_of(file, "version", 4), "version at offset 4: found 4, expected 2 or 3");
  EXPECT_THAT(refusal_of(file, "version", 0x03000000), HasSubstr("found a big-endian file"));
  EXPECT_THAT(refusal({}), HasSubstr("magic at offset 0: found 0 bytes left"));
}

TEST(Gguf, CountsAreBoundedByLimitsAndByBytesLeft) {
  const GgufFile file = small_writer().build();
  EXPECT_EQ(refusal_of(file, "tensor count", 65537),
            "tensor count at offset 8: found 65537, expected at most 65536");
  EXPECT_THAT(refusal_of(file, "tensor count", 65536), HasSubstr("what the file has bytes for"));
  EXPECT_EQ(refusal_of(file, "key count", 65537),
            "metadata key count at offset 16: found 65537, expected at most 65536");
  EXPECT_THAT(refusal_of(file, "key count", 65536), HasSubstr("what the file has bytes for"));
  EXPECT_THAT(refusal_of(file, "array length of words", 1u << 20),
              HasSubstr("array length of 'words'"));
  EXPECT_THAT(refusal_of(file, "string length of general.architecture", (16u << 20) + 1),
              HasSubstr("at most 16777216"));
}

TEST(Gguf, ArraysOfArraysAreRefused) {
  EXPECT_THAT(refusal_of(small_writer().build(), "element type of words", 9),
              HasSubstr("nesting of at most 1"));
}

TEST(Gguf, UnknownValueTypesAndBooleansAreRefused) {
  const GgufFile file = small_writer().build();
  EXPECT_THAT(refusal_of(file, "type of answer", 13),
              HasSubstr("found 13, expected a metadata type in 0..12"));
  EXPECT_THAT(refusal_of(file, "value of yes", 2),
              HasSubstr("found 2, expected a boolean, 0 or 1"));
}

TEST(Gguf, KeysAndTensorNamesAreUniqueAndNotEmpty) {
  GgufWriter twice;
  twice.add_u32("key", 1);
  twice.add_u32("key", 2);
  EXPECT_THAT(refusal(twice.build().bytes),
              HasSubstr("found 'key' a second time, expected unique keys"));
  GgufWriter tensors;
  tensors.add_tensor("t", {1}, TensorType::kF32, counting_bytes(4));
  tensors.add_tensor("t", {1}, TensorType::kF32, counting_bytes(4));
  EXPECT_THAT(refusal(tensors.build().bytes), HasSubstr("found 't' twice"));
  GgufWriter empty_key;
  empty_key.add_u32("", 1);
  EXPECT_THAT(refusal(empty_key.build().bytes), HasSubstr("an empty key"));
  GgufWriter empty_name;
  empty_name.add_tensor("", {1}, TensorType::kF32, counting_bytes(4));
  EXPECT_THAT(refusal(empty_name.build().bytes), HasSubstr("an empty name"));
}

TEST(Gguf, DimensionsAreOneToFourAndAtLeastOne) {
  const GgufFile file = small_writer().build();
  EXPECT_THAT(refusal_of(file, "n_dims of first", 0), HasSubstr("n_dims of 'first'"));
  EXPECT_THAT(refusal_of(file, "n_dims of first", 5), HasSubstr("found 5, expected 1..4"));
  EXPECT_THAT(refusal_of(file, "dim 1 of second", 0), HasSubstr("dim of 'second'[1]"));
  EXPECT_THAT(refusal_of(file, "dim 1 of second", uint64_t{1} << 63),
              HasSubstr("more than 2^64 bytes"));
  EXPECT_THAT(refusal_of(file, "dim 0 of second", 33),
              HasSubstr("a multiple of 32, the block of Q4_1"));
}

TEST(Gguf, UnsupportedTypesAreNamed) {
  const GgufFile file = small_writer().build();
  const std::string at = std::to_string(file.field("tensor type of first").offset);
  EXPECT_EQ(
      refusal_of(file, "tensor type of first", 21),
      "tensor 'first' (offset " + at +
          "): type IQ3_S (21) is not supported; supported: F32 F16 BF16 Q4_0 Q4_1 Q8_0 Q5_0 Q5_1 "
          "Q4_K Q5_K Q6_K Q2_K Q3_K IQ4_NL");
  EXPECT_THAT(refusal_of(file, "tensor type of first", 999), HasSubstr("type unknown (999)"));
}

TEST(Gguf, ExtentsAreAlignedInsideTheDataAndDisjoint) {
  const GgufFile file = small_writer().build();
  EXPECT_THAT(refusal_of(file, "data offset of second", 33),
              HasSubstr("a multiple of the alignment 32"));
  EXPECT_THAT(refusal_of(file, "data offset of second", 64),
              HasSubstr("inside the data section of 152 bytes"));
  EXPECT_THAT(refusal_of(file, "data offset of second", 0),
              HasSubstr("bytes of its own, not those of"));
  std::vector<std::byte> cut(file.bytes.begin(), file.bytes.end() - 1);
  EXPECT_THAT(refusal(cut), HasSubstr("data offset of 'second'"));
}

TEST(Gguf, AlignmentIsAPowerOfTwoInRange) {
  for (uint32_t alignment : {8u, 64u, 65536u}) {
    GgufWriter writer(3, alignment);
    writer.add_u32("general.alignment", alignment);
    writer.add_tensor("t", {3}, TensorType::kF32, counting_bytes(12));
    const GgufFile file = writer.build();
    const Result<TensorIndex> index = parse_gguf(file.bytes);
    ASSERT_TRUE(index.ok()) << index.status().message();
    EXPECT_EQ(index.value().tensors[0].file_offset % alignment, 0u);
    for (uint32_t wrong : {0u, 4u, 48u, 131072u}) {
      EXPECT_THAT(refusal_of(file, "value of general.alignment", wrong),
                  HasSubstr("a power of two in [8, 65536]"));
    }
  }
}

TEST(Gguf, DecodedMetadataStaysWithinItsBudget) {
  // 17 MiB of u8 would take 136 MiB of 64-bit integers; 15 MiB take 120 and pass.
  for (const auto& [num_bytes, fits] :
       {std::pair(size_t{17} << 20, false), std::pair(size_t{15} << 20, true)}) {
    GgufWriter writer;
    writer.add_u8s("big", std::vector<uint8_t>(num_bytes));
    const GgufFile file = writer.build();
    const Result<TensorIndex> index = parse_gguf(file.bytes);
    EXPECT_EQ(index.ok(), fits);
    if (!fits) {
      EXPECT_THAT(index.status().message(), HasSubstr("bytes of decoded metadata"));
    }
  }
}

TEST(Gguf, NamesInMessagesAreOneLineOfPrintableText) {
  GgufWriter writer;
  writer.add_tensor("evil\nname\x1b" + std::string(500, 'x'), {1}, static_cast<TensorType>(11),
                    counting_bytes(4));
  const std::string message = refusal(writer.build().bytes);
  EXPECT_THAT(message, AllOf(HasSubstr("evil\\x0aname\\x1b"), HasSubstr("xxx...")));
  EXPECT_LT(message.size(), 250u);
}

class OpenGguf : public ::testing::Test {
 protected:
  OpenGguf() {
    std::string pattern = (std::filesystem::temp_directory_path() / "stet_formats_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~OpenGguf() override { std::filesystem::remove_all(folder_); }
  std::string write(const char* name, const std::vector<std::byte>& bytes) const {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path;
  }
  std::filesystem::path folder_;
};

TEST_F(OpenGguf, KeepsTheBytesAliveAfterTheFileIsGone) {
  const std::string path = write("small.Q4_1.gguf", small_writer().build().bytes);
  const Result<TensorIndex> index = open_gguf(path);
  ASSERT_TRUE(index.ok()) << index.status().message();
  std::filesystem::remove(path);
  EXPECT_EQ(index.value().stem, "small.Q4_1");
  EXPECT_EQ(index.value().find("first")->bytes[0], std::byte{1});
}

TEST_F(OpenGguf, MissingFilesAndOtherThingsAreNotFound) {
  EXPECT_EQ(open_gguf((folder_ / "absent.gguf").string()).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(open_gguf(folder_.string()).status().code(), StatusCode::kNotFound);
  const std::string fifo = (folder_ / "fifo").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(open_gguf(fifo).status().message(), HasSubstr("not a regular file"));
}

TEST_F(OpenGguf, BrokenFilesAreDataLossAndNameThePath) {
  const std::string empty = write("empty.gguf", {});
  EXPECT_EQ(open_gguf(empty).status().code(), StatusCode::kDataLoss);
  const std::string text = write("text.gguf", counting_bytes(100));
  EXPECT_EQ(open_gguf(text).status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(open_gguf(text).status().message(), AllOf(HasSubstr("text.gguf: magic at offset 0")));
}

}  // namespace
}  // namespace stet::formats
