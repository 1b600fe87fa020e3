#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "src/cli/answer.h"
#include "src/cli/commands.h"
#include "stet/formats/tensor_index.h"
#include "stet/model/model.h"
#include "stet/text/chat_template.h"

namespace stet::cli {
namespace {

using formats::TensorIndex;

std::string bytes_text(uint64_t bytes) {
  char text[40];
  const double mib = static_cast<double>(bytes) / (1 << 20);
  std::snprintf(text, sizeof text, mib >= 1024 ? "%.2f GiB" : "%.1f MiB",
                mib >= 1024 ? mib / 1024 : mib);
  return text;
}

// Text of a file that may come from anybody, without the control characters a terminal obeys: C0,
// DEL, and C1 as UTF-8 writes it. `breaks`: line breaks and tabs stay.
std::string shown(std::string_view text, bool breaks = false) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    const bool stays = breaks && (byte == '\n' || byte == '\t');
    if ((byte < 0x20 && !stays) || byte == 0x7f || c1) {
      out.push_back('?');
      i += c1 ? 1 : 0;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

void row(const char* name, const std::string& value) {
  std::printf("%-18s %s\n", name, shown(value).c_str());
}
void row(const char* name, uint64_t value) {
  row(name, std::to_string(value));
}

void print_types(const TensorIndex& index) {
  struct Sum {
    uint64_t tensors = 0, bytes = 0;
  };
  std::map<std::string, Sum> sums;
  for (const formats::TensorInfo& tensor : index.tensors) {
    Sum& sum = sums[std::string(formats::tensor_type_name(tensor.type))];
    sum.tensors += 1;
    sum.bytes += tensor.bytes.size();
  }
  std::printf("\ntensors\n");
  for (const auto& [type, sum] : sums) {
    std::printf("  %-6s %5" PRIu64 "   %s\n", type.c_str(), sum.tensors,
                bytes_text(sum.bytes).c_str());
  }
}

void print_hyper(const model::HyperParams& hyper) {
  row("layers", hyper.num_layers);
  row("width", hyper.width);
  row("feed-forward", hyper.ffn_width);
  row("heads", std::to_string(hyper.num_heads) + " query, " + std::to_string(hyper.num_kv_heads) +
                   " key/value, " + std::to_string(hyper.head_dim) + " wide");
  row("context", std::to_string(hyper.context_len) + " tokens");
  row("vocabulary",
      std::to_string(hyper.vocab_size) + " tokens" + (hyper.tied_head ? ", head tied" : ""));
}

void print_memory(const model::ModelSummary& summary) {
  const uint64_t full_context = summary.kv_bytes_per_token * summary.hyper.context_len;
  std::printf("\nmemory\n");
  std::printf("  weights, packed    %s\n", bytes_text(summary.weight_bytes).c_str());
  std::printf("  KV per token       %" PRIu64 " bytes (bf16)\n", summary.kv_bytes_per_token);
  std::printf("  KV of one context  %s\n", bytes_text(full_context).c_str());
}

void print_special_tokens(const TensorIndex& index) {
  const auto tokens = index.get_strings("tokenizer.ggml.tokens");
  std::printf("\ntokenizer\n");
  const auto model = index.get_string("tokenizer.ggml.model");
  const bool is_sentencepiece = model.ok() && model.value() == "llama";
  for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.pre"}) {
    if (const auto text = index.get_string(key); text.ok()) {
      std::printf("  %-18s %s\n", key + std::string("tokenizer.ggml.").size(),
                  shown(text.value()).c_str());
    }
  }
  if (is_sentencepiece) {
    const auto prefix = index.get_bool("tokenizer.ggml.add_space_prefix");
    std::printf("  %-18s SentencePiece, %s\n", "kind",
                !prefix.ok() || prefix.value() ? "a space is put in front of text"
                                               : "no space is put in front of text");
  }
  for (const char* name : {"bos", "eos", "eot", "eom", "unknown", "padding"}) {
    const auto id = index.get_uint(std::string("tokenizer.ggml.") + name + "_token_id");
    if (id.ok() && tokens.ok() && id.value() < tokens.value().size()) {
      std::printf("  %-18s %" PRIu64 "  %s\n", name, id.value(),
                  shown(tokens.value()[id.value()]).c_str());
    }
  }
}

bool has_control_token(const TensorIndex& index, std::string_view name) {
  const auto tokens = index.get_strings("tokenizer.ggml.tokens");
  const auto kinds = index.get_ints("tokenizer.ggml.token_type");
  if (!tokens.ok() || !kinds.ok()) {
    return false;
  }
  const auto found = std::find(tokens.value().begin(), tokens.value().end(), name);
  const auto at = static_cast<size_t>(found - tokens.value().begin());
  return at < kinds.value().size() &&
         kinds.value()[at] == static_cast<int64_t>(text::TokenKind::kControl);
}

void print_template(const TensorIndex& index, bool whole) {
  const auto source = index.get_string("tokenizer.chat_template");
  std::printf("\nchat template\n");
  if (!source.ok()) {
    const auto made = text::default_chat_template(
        [&index](std::string_view name) { return has_control_token(index, name); });
    std::printf("  none in the file: %s is used\n", std::string(made.name).c_str());
    return;
  }
  const auto parsed = text::ChatTemplate::parse(source.value());
  std::printf(
      "  %zu bytes, %s\n", source.value().size(),
      parsed.ok() ? "understood" : ("not understood: " + shown(parsed.status().message())).c_str());
  if (whole) {
    std::printf("%s\n", shown(source.value(), /*breaks=*/true).c_str());
  }
}

int exit_code(const Status& status) {
  report(status);
  return status.code() == StatusCode::kNotFound ? kExitInputMissing : kExitInputInvalid;
}

}  // namespace

int run_inspect(const InspectCommand& command) {
  const auto index = formats::open_gguf(command.path);
  if (!index.ok()) {
    return exit_code(index.status());
  }
  const auto summary = model::summarise(index.value());
  if (!summary.ok()) {
    return exit_code(summary.status().with_context(command.path));
  }
  const model::ModelSummary& model = summary.value();
  row("name", model.name);
  row("architecture", model.architecture);
  row("quantisation", model.quantisation);
  char parameters[40];
  std::snprintf(parameters, sizeof parameters, "%.1f M",
                static_cast<double>(model.num_parameters) / 1e6);
  row("parameters", parameters);
  std::error_code error;
  row("file", bytes_text(std::filesystem::file_size(command.path, error)) + ", GGUF v" +
                  std::to_string(index.value().version));
  print_hyper(model.hyper);
  print_types(index.value());
  print_memory(model);
  print_special_tokens(index.value());
  print_template(index.value(), command.show_template);
  return kExitOk;
}

}  // namespace stet::cli
