#include "src/model/identity.h"

#include <type_traits>

namespace stet::model {
namespace {

// Tagged fields of little-endian values: a field's bytes cannot be read as another's.
class TaggedHash {
 public:
  void add(std::string_view tag, std::string_view text) { hash_.update_field(tag, text); }
  template <class T>
  void add(std::string_view tag, std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    hash_.update_field(tag, std::as_bytes(values));
  }
  template <class T>
  requires std::is_arithmetic_v<T>
  void add(std::string_view tag, T value) {
    hash_.update_field(tag, std::as_bytes(std::span(&value, 1)));
  }
  Sha256Digest finish() { return hash_.finish(); }

 private:
  Sha256 hash_;
};

void add_hyper_params(const HyperParams& hyper, TaggedHash* hash) {
  hash->add("num_layers", hyper.num_layers);
  hash->add("width", hyper.width);
  hash->add("ffn_width", hyper.ffn_width);
  hash->add("num_heads", hyper.num_heads);
  hash->add("num_kv_heads", hyper.num_kv_heads);
  hash->add("head_dim", hyper.head_dim);
  hash->add("rope_dim", hyper.rope_dim);
  hash->add("vocab_size", hyper.vocab_size);
  hash->add("context_len", hyper.context_len);
  hash->add("norm_eps", hyper.norm_eps);
  hash->add("attention_scale", hyper.attention_scale);
  hash->add("embedding_scale", hyper.embedding_scale);
  hash->add("rope_style", static_cast<uint32_t>(hyper.rope_style));
  hash->add("gate", static_cast<uint32_t>(hyper.gate));
  hash->add("tied_head", static_cast<uint32_t>(hyper.tied_head));
}

}  // namespace

Sha256Digest compute_model_hash(const formats::TensorIndex& index,
                                std::span<const Sha256Digest> tensor_digests,
                                const ArchParams& params, std::string_view architecture,
                                std::span<const RopeTable> rope_tables) {
  TaggedHash hash;
  for (uint32_t i : index.by_name) {
    const formats::TensorInfo& tensor = index.tensors[i];
    hash.add("tensor", tensor.name);
    hash.add("type", formats::tensor_type_name(tensor.type));
    hash.add("dims", std::span<const uint64_t>(tensor.dims));
    hash.add("sha256", std::span<const uint8_t>(tensor_digests[i]));
  }
  hash.add("architecture", architecture);
  add_hyper_params(params.hyper, &hash);
  for (const LayerKind& layer : params.layers) {
    hash.add("layer.window", layer.window);
    hash.add("layer.rope_table", layer.rope_table);
  }
  for (const RopeTable& table : rope_tables) {
    hash.add("rope.cos", std::span<const float>(table.cos));
    hash.add("rope.sin", std::span<const float>(table.sin));
  }
  return hash.finish();
}

uint64_t compute_numerics_id(const Sha256Digest& model_hash) {
  TaggedHash hash;
  hash.add("contract", kContractVersion);
  hash.add("family", "exact-1");
  hash.add("mode", "fast");
  hash.add("kv", "bf16");
  hash.add("outliers", "");  // no linear input has an outlier list
  hash.add("model", std::span<const uint8_t>(model_hash));
  const Sha256Digest digest = hash.finish();
  uint64_t id = 0;
  for (int i = 0; i < 8; ++i) {
    id = id << 8 | digest[i];
  }
  return id;
}

}  // namespace stet::model
