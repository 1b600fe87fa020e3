// Any bytes as a model file: they load or are refused with one line; no crash, no sanitizer
// finding, no large allocation. The first byte chooses what is fuzzed: raw bytes, or a valid tiny
// file with the input's bytes written over its header (patches of 10 bytes: field or byte, value),
// so that mutations reach the model's checks behind the parser's.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "stet/formats/tensor_index.h"
#include "stet/model/model.h"
#include "tests/support/tiny_gguf.h"

namespace {

const stet::testing::GgufFile& seed_file(bool gemma) {
  static const auto make = [](const char* arch) {
    stet::testing::TinyModelSpec spec;
    spec.arch = arch;
    spec.vocab = 262;
    spec.context = 64;
    spec.num_layers = 1;
    spec.width = 32;
    spec.ffn = 32;
    spec.heads = 2;
    spec.kv_heads = 1;
    return stet::testing::make_tiny_gguf_file(spec);
  };
  static const stet::testing::GgufFile kLlama = make("llama");
  static const stet::testing::GgufFile kGemma = make("gemma3");
  return gemma ? kGemma : kLlama;
}

void expect_one_line(const stet::Status& status) {
  if (status.code() != stet::StatusCode::kDataLoss ||
      status.message().find('\n') != std::string::npos) {
    std::abort();
  }
}

void run(const std::vector<std::byte>& bytes) {
  const auto index = stet::formats::parse_gguf(bytes);
  if (!index.ok()) {
    return expect_one_line(index.status());
  }
  const auto model = stet::model::load_model(index.value(), {});
  if (!model.ok()) {
    expect_one_line(model.status());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const auto* begin = reinterpret_cast<const std::byte*>(data) + 1;
  if (data[0] % 3 == 0) {
    run(std::vector<std::byte>(begin, begin + size - 1));
    return 0;
  }
  const stet::testing::GgufFile& seed = seed_file(data[0] % 3 == 2);
  std::vector<std::byte> bytes = seed.bytes;
  constexpr size_t kPatchBytes = 10;  // which field (2), its new value (8)
  for (size_t at = 0; at + kPatchBytes <= size - 1; at += kPatchBytes) {
    uint16_t which = 0;
    uint64_t value = 0;
    std::memcpy(&which, begin + at, sizeof(which));
    std::memcpy(&value, begin + at + sizeof(which), sizeof(value));
    if (which < 0x8000) {
      poke(&bytes, seed.fields[which % seed.fields.size()], value);
    } else {
      bytes[which % seed.header_bytes] = static_cast<std::byte>(value);
    }
  }
  run(bytes);
  return 0;
}
