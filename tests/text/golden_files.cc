#include "tests/text/golden_files.h"

#include <fstream>

#include "stet/base/check.h"

namespace stet::text {

nlohmann::json read_golden(const std::string& name) {
  std::ifstream file(std::string(STET_SOURCE_DIR) + "/tests/golden/text/" + name);
  STET_CHECK(file.good(), name.c_str());
  return nlohmann::json::parse(file);
}

TokenizerSpec tiny_spec(const nlohmann::json& golden, const std::string& pre) {
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre_tokenizer = pre;
  spec.tokens = golden["tokens"].get<std::vector<std::string>>();
  spec.merges = golden["merges"].get<std::vector<std::string>>();
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  std::fill_n(spec.kinds.begin(), golden["num_special"].get<size_t>(), TokenKind::kControl);
  spec.bos_id = 1;
  spec.eos_id = 2;
  spec.unk_id = 0;
  return spec;
}

}  // namespace stet::text
