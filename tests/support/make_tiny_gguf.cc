// make_tiny_gguf --arch llama --seed 1 --out file.gguf: a tiny seeded model for tests that start
// processes. `--layout` writes where its fields and edges lie, for tests that break them.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <string_view>

#include "tests/support/tiny_gguf.h"

namespace {

bool write_file(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) {
    std::fprintf(stderr, "make_tiny_gguf: cannot write %s\n", path.c_str());
    return false;
  }
  return true;
}

// Lines "field|edge <tab> offset <tab> bytes <tab> name": the integers of the header; the end of
// the header and of each tensor's bytes.
std::string layout_text(const stet::testing::GgufFile& file) {
  std::string text;
  for (const stet::testing::GgufField& field : file.fields) {
    text += "field\t" + std::to_string(field.offset) + "\t" + std::to_string(field.num_bytes) +
            "\t" + field.name + "\n";
  }
  text += "edge\t" + std::to_string(file.header_bytes) + "\t0\tend of the header\n";
  for (size_t i = 0; i < file.data_edges.size(); ++i) {
    text += "edge\t" + std::to_string(file.data_edges[i]) + "\t0\tend of tensor " +
            std::to_string(i) + "\n";
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  using stet::formats::TensorType;
  stet::testing::TinyModelSpec spec;
  std::string out;
  std::string layout;
  const std::map<std::string, TensorType> types = {
      {"F32", TensorType::kF32},   {"F16", TensorType::kF16},      {"BF16", TensorType::kBF16},
      {"Q4_0", TensorType::kQ4_0}, {"Q4_1", TensorType::kQ4_1},    {"Q8_0", TensorType::kQ8_0},
      {"Q5_0", TensorType::kQ5_0}, {"Q5_1", TensorType::kQ5_1},    {"Q4_K", TensorType::kQ4_K},
      {"Q5_K", TensorType::kQ5_K}, {"Q6_K", TensorType::kQ6_K},    {"Q2_K", TensorType::kQ2_K},
      {"Q3_K", TensorType::kQ3_K}, {"IQ4_NL", TensorType::kIQ4_NL}};
  CLI::App app("Writes a tiny seeded model file");
  app.add_option("--arch", spec.arch)->check(CLI::IsMember({"llama", "gemma3", "qwen2", "qwen3"}));
  app.add_option("--seed", spec.seed);
  app.add_option("--layers", spec.num_layers);
  app.add_option("--width", spec.width);
  app.add_option("--ffn", spec.ffn);
  app.add_option("--heads", spec.heads);
  app.add_option("--kv-heads", spec.kv_heads);
  app.add_option("--head-dim", spec.head_dim);
  app.add_option("--vocab", spec.vocab)->check(CLI::Range(259, 1 << 20));
  app.add_option("--context", spec.context);
  app.add_option("--window", spec.window);
  app.add_option("--type", spec.weight_type)->transform(CLI::CheckedTransformer(types));
  app.add_option("--embedding-type", spec.embedding_type)
      ->transform(CLI::CheckedTransformer(types));
  app.add_option("--name", spec.name);
  app.add_flag(
      "--untied", [&spec](int64_t) { spec.tied = false; }, "give the head weights of its own");
  app.add_flag("--biases", spec.biases);
  app.add_option("--out", out)->required();
  app.add_option("--layout", layout);
  CLI11_PARSE(app, argc, argv);

  const stet::testing::GgufFile file = stet::testing::make_tiny_gguf_file(spec);
  const auto* bytes = reinterpret_cast<const char*>(file.bytes.data());
  const bool written = write_file(out, {bytes, file.bytes.size()}) &&
                       (layout.empty() || write_file(layout, layout_text(file)));
  return written ? 0 : 1;
}
