// make_tiny_gguf --arch llama --seed 1 --out file.gguf: a tiny seeded model for tests that start
// processes.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <map>

#include "tests/support/tiny_gguf.h"

int main(int argc, char** argv) {
  using stet::formats::TensorType;
  stet::testing::TinyModelSpec spec;
  std::string out;
  const std::map<std::string, TensorType> types = {
      {"F32", TensorType::kF32},   {"F16", TensorType::kF16},   {"BF16", TensorType::kBF16},
      {"Q4_0", TensorType::kQ4_0}, {"Q4_1", TensorType::kQ4_1}, {"Q8_0", TensorType::kQ8_0}};
  CLI::App app("Writes a tiny seeded model file");
  app.add_option("--arch", spec.arch)->check(CLI::IsMember({"llama", "gemma3"}));
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
  CLI11_PARSE(app, argc, argv);

  const std::vector<std::byte> bytes = stet::testing::make_tiny_gguf(spec);
  std::ofstream file(out, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) {
    std::fprintf(stderr, "make_tiny_gguf: cannot write %s\n", out.c_str());
    return 1;
  }
  return 0;
}
