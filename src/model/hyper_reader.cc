#include "src/model/hyper_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "src/model/arch/arch.h"

namespace stet::model {
namespace {

// Keys that every architecture has, or that do not change what is computed.
constexpr std::array kCommonKeys = {
    "block_count",          "context_length",         "embedding_length",
    "feed_forward_length",  "attention.head_count",   "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon",
    "rope.dimension_count", "rope.freq_base",         "rope.scaling.type",
    "vocab_size",           "tensor_data_layout",
};

std::string text_of(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

// A key that this build does not know may change the arithmetic: refused by name rather than
// ignored.
Status check_known_keys(const Architecture& arch, const HyperReader& reader) {
  const auto& metadata = reader.index().metadata;
  for (auto it = metadata.lower_bound(reader.prefix()); it != metadata.end(); ++it) {
    if (!it->first.starts_with(reader.prefix())) {
      break;
    }
    const std::string_view key = std::string_view(it->first).substr(reader.prefix().size());
    const bool known =
        std::find(kCommonKeys.begin(), kCommonKeys.end(), key) != kCommonKeys.end() ||
        std::find(arch.keys.begin(), arch.keys.end(), key) != arch.keys.end();
    if (key.starts_with("rope.scaling.") && !known) {
      return reader.refuse(key, "rope scaling", "none: rope scaling is not supported");
    }
    if (!known) {
      return reader.refuse(key, "a parameter that this build does not know",
                           "only parameters whose meaning it implements");
    }
  }
  if (reader.has("rope.scaling.type")) {
    STET_ASSIGN_OR_RETURN(const std::string type,
                          reader.index().get_string(reader.prefix() + "rope.scaling.type"));
    if (type != "none") {
      return reader.refuse("rope.scaling.type", "'" + formats::printable(type) + "'",
                           "'none': rope scaling is not supported");
    }
  }
  return {};
}

Status read_heads(const HyperReader& reader, HyperParams* hyper) {
  constexpr uint32_t kMaxHeads = 1024;
  STET_ASSIGN_OR_RETURN(hyper->num_heads, reader.count("attention.head_count", {1, kMaxHeads}));
  STET_ASSIGN_OR_RETURN(hyper->num_kv_heads, reader.count("attention.head_count_kv",
                                                          {1, hyper->num_heads}, hyper->num_heads));
  if (hyper->num_heads % hyper->num_kv_heads != 0) {
    return reader.refuse("attention.head_count_kv", std::to_string(hyper->num_kv_heads),
                         "a divisor of the " + std::to_string(hyper->num_heads) + " query heads");
  }
  if (!reader.has("attention.key_length") && hyper->width % hyper->num_heads != 0) {
    return reader.refuse("attention.head_count", std::to_string(hyper->num_heads),
                         "a divisor of the width " + std::to_string(hyper->width));
  }
  // Attention kernels work on whole vectors of dimensions; every model in the field has a multiple
  // of 16.
  const uint32_t by_width = hyper->width / hyper->num_heads;
  STET_ASSIGN_OR_RETURN(hyper->head_dim,
                        reader.count("attention.key_length", {16, kernels::kMaxHeadDim}, by_width));
  if (hyper->head_dim % 16 != 0 || hyper->head_dim > kernels::kMaxHeadDim) {
    return reader.refuse(
        reader.has("attention.key_length") ? "attention.key_length" : "attention.head_count",
        "heads of " + std::to_string(hyper->head_dim) + " dimensions",
        "a multiple of 16 up to " + std::to_string(kernels::kMaxHeadDim));
  }
  STET_ASSIGN_OR_RETURN(
      const uint32_t value_length,
      reader.count("attention.value_length", {16, kernels::kMaxHeadDim}, hyper->head_dim));
  if (value_length != hyper->head_dim) {
    return reader.refuse("attention.value_length", std::to_string(value_length),
                         "the key length " + std::to_string(hyper->head_dim));
  }
  STET_ASSIGN_OR_RETURN(
      hyper->rope_dim, reader.count("rope.dimension_count", {2, hyper->head_dim}, hyper->head_dim));
  if (hyper->rope_dim % 2 != 0) {
    return reader.refuse("rope.dimension_count", std::to_string(hyper->rope_dim), "an even number");
  }
  return {};
}

// The vocabulary is as large as the embedding; where the file says it elsewhere too, it must agree.
Status read_vocabulary(const HyperReader& reader, HyperParams* hyper) {
  constexpr uint32_t kMaxVocab = 1u << 20;
  const formats::TensorInfo* embedding = reader.index().find("token_embd.weight");
  if (embedding == nullptr) {
    return data_loss("tensor 'token_embd.weight' is missing");
  }
  const uint64_t rows = embedding->dims.size() == 2 ? embedding->dims[1] : 0;
  if (rows < 1 || rows > kMaxVocab) {
    return data_loss("tensor 'token_embd.weight' (offset " +
                     std::to_string(embedding->file_offset) + "): found " + std::to_string(rows) +
                     " rows, expected 1.." + std::to_string(kMaxVocab));
  }
  hyper->vocab_size = static_cast<uint32_t>(rows);
  STET_ASSIGN_OR_RETURN(const uint32_t said,
                        reader.count("vocab_size", {1, kMaxVocab}, hyper->vocab_size));
  if (said != hyper->vocab_size) {
    return reader.refuse("vocab_size", std::to_string(said),
                         std::to_string(rows) + ", the rows of 'token_embd.weight'");
  }
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
  if (reader.index().has(kTokens)) {
    STET_ASSIGN_OR_RETURN(const std::span<const std::string> tokens,
                          reader.index().get_strings(kTokens));
    if (tokens.size() != rows) {
      return data_loss("metadata 'tokenizer.ggml.tokens' at offset " +
                       std::to_string(reader.index().metadata.find(kTokens)->second.file_offset) +
                       ": found " + std::to_string(tokens.size()) + " tokens, expected " +
                       std::to_string(rows) + ", the rows of 'token_embd.weight'");
    }
  }
  return {};
}

Status check_multiple(const HyperReader& reader, std::string_view key, uint32_t value) {
  if (value % kernels::kGroup != 0) {
    return reader.refuse(key, std::to_string(value),
                         "a multiple of " + std::to_string(kernels::kGroup));
  }
  return {};
}

}  // namespace

Status HyperReader::refuse(std::string_view key, std::string_view found,
                           std::string_view expected) const {
  const std::string name = prefix_ + std::string(key);
  const auto it = index_.metadata.find(name);
  std::string message = "metadata '" + formats::printable(name) + "'";
  message += it != index_.metadata.end() ? " at offset " + std::to_string(it->second.file_offset)
                                         : " (absent)";
  message.append(": found ").append(found).append(", expected ").append(expected);
  return data_loss(std::move(message));
}

Result<uint32_t> HyperReader::count(std::string_view key, CountRange range,
                                    std::optional<uint32_t> fallback) const {
  if (fallback && !has(key)) {
    return *fallback;
  }
  STET_ASSIGN_OR_RETURN(const uint64_t value, index_.get_uint(prefix_ + std::string(key)));
  if (value < range.least || value > range.most) {
    return refuse(key, std::to_string(value),
                  std::to_string(range.least) + ".." + std::to_string(range.most));
  }
  return static_cast<uint32_t>(value);
}

Result<double> HyperReader::real(std::string_view key, RealRange range,
                                 std::optional<double> fallback) const {
  if (fallback && !has(key)) {
    return *fallback;
  }
  STET_ASSIGN_OR_RETURN(const double value, index_.get_float(prefix_ + std::string(key)));
  if (!(value >= range.least && value <= range.most)) {  // NaN is in no range
    return refuse(key, text_of(value), text_of(range.least) + ".." + text_of(range.most));
  }
  return value;
}

Result<const Architecture*> read_architecture(const formats::TensorIndex& index) {
  constexpr std::string_view kKey = "general.architecture";
  STET_ASSIGN_OR_RETURN(const std::string name, index.get_string(kKey));
  const Architecture* arch = find_architecture(name);
  if (arch == nullptr) {
    std::string message = "metadata 'general.architecture' at offset " +
                          std::to_string(index.metadata.find(kKey)->second.file_offset) +
                          ": found '" + formats::printable(name) + "', expected one of:";
    for (const char* known : known_architectures()) {
      message.append(" ").append(known);
    }
    return data_loss(std::move(message));
  }
  return arch;
}

Result<ArchParams> read_params(const Architecture& arch, const formats::TensorIndex& index) {
  const HyperReader reader(index, arch.name);
  STET_RETURN_IF_ERROR(check_known_keys(arch, reader));
  ArchParams params;
  HyperParams& hyper = params.hyper;
  hyper.rope_style = arch.rope_style;
  hyper.gate = arch.gate;
  hyper.tied_head = index.find("output.weight") == nullptr;
  STET_ASSIGN_OR_RETURN(hyper.num_layers, reader.count("block_count", {1, 1024}));
  STET_ASSIGN_OR_RETURN(hyper.width, reader.count("embedding_length", {32, 65536}));
  STET_RETURN_IF_ERROR(check_multiple(reader, "embedding_length", hyper.width));
  STET_ASSIGN_OR_RETURN(hyper.ffn_width, reader.count("feed_forward_length", {32, 1u << 20}));
  STET_RETURN_IF_ERROR(check_multiple(reader, "feed_forward_length", hyper.ffn_width));
  // Two: a token of prompt and one to generate; the self-test at start needs both.
  STET_ASSIGN_OR_RETURN(hyper.context_len, reader.count("context_length", {2, kMaxContext}));
  STET_RETURN_IF_ERROR(read_heads(reader, &hyper));
  STET_RETURN_IF_ERROR(
      check_multiple(reader, "attention.head_count", hyper.num_heads * hyper.head_dim));
  STET_RETURN_IF_ERROR(read_vocabulary(reader, &hyper));
  STET_ASSIGN_OR_RETURN(const double eps,
                        reader.real("attention.layer_norm_rms_epsilon", {1e-12, 0.1}));
  hyper.norm_eps = static_cast<float>(eps);
  STET_RETURN_IF_ERROR(arch.finish(reader, &params));
  return params;
}

}  // namespace stet::model
