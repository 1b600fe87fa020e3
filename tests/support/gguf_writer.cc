#include "tests/support/gguf_writer.h"

#include <cstring>

#include "stet/base/check.h"

namespace stet::testing {
namespace {

enum : uint32_t {
  kU8 = 0,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10
};

template <class T>
void append(std::vector<std::byte>* out, T value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out->insert(out->end(), bytes, bytes + sizeof(value));
}

void append_string(std::vector<std::byte>* out, std::string_view text) {
  append<uint64_t>(out, text.size());
  const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
  out->insert(out->end(), bytes, bytes + text.size());
}

void append_array_head(std::vector<std::byte>* out, std::vector<GgufField>* fields, uint32_t type,
                       uint64_t count) {
  fields->push_back({"element type", out->size(), 4});
  append(out, type);
  fields->push_back({"array length", out->size(), 8});
  append(out, count);
}

}  // namespace

void poke(std::vector<std::byte>* file, const GgufField& field, uint64_t value) {
  STET_CHECK(field.offset + field.num_bytes <= file->size() && field.num_bytes <= 8,
             "the field lies in the file");
  std::memcpy(file->data() + field.offset, &value, field.num_bytes);
}

const GgufField& GgufFile::field(std::string_view name) const {
  for (const GgufField& candidate : fields) {
    if (candidate.name == name) {
      return candidate;
    }
  }
  check_failed(__FILE__, __LINE__, "field exists", std::string(name).c_str());
}

GgufWriter::Key& GgufWriter::add_key(std::string_view key, uint32_t type) {
  keys_.push_back({std::string(key), type, {}, {}});
  return keys_.back();
}

void GgufWriter::add_u32(std::string_view key, uint32_t value) {
  Key& entry = add_key(key, kU32);
  entry.fields.push_back({"value", 0, 4});
  append(&entry.value, value);
}

void GgufWriter::add_u64(std::string_view key, uint64_t value) {
  Key& entry = add_key(key, kU64);
  entry.fields.push_back({"value", 0, 8});
  append(&entry.value, value);
}

void GgufWriter::add_i32(std::string_view key, int32_t value) {
  Key& entry = add_key(key, kI32);
  entry.fields.push_back({"value", 0, 4});
  append(&entry.value, value);
}

void GgufWriter::add_f32(std::string_view key, float value) {
  Key& entry = add_key(key, kF32);
  entry.fields.push_back({"value", 0, 4});
  append(&entry.value, value);
}

void GgufWriter::add_bool(std::string_view key, bool value) {
  Key& entry = add_key(key, kBool);
  entry.fields.push_back({"value", 0, 1});
  append<uint8_t>(&entry.value, value ? 1 : 0);
}

void GgufWriter::add_string(std::string_view key, std::string_view value) {
  Key& entry = add_key(key, kString);
  entry.fields.push_back({"string length", 0, 8});
  append_string(&entry.value, value);
}

void GgufWriter::add_strings(std::string_view key, std::span<const std::string> values) {
  Key& entry = add_key(key, kArray);
  append_array_head(&entry.value, &entry.fields, kString, values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (i == 0 || i + 1 == values.size()) {  // the ends stand for all
      entry.fields.push_back({"string length[" + std::to_string(i) + "]", entry.value.size(), 8});
    }
    append_string(&entry.value, values[i]);
  }
}

void GgufWriter::add_i32s(std::string_view key, std::span<const int32_t> values) {
  Key& entry = add_key(key, kArray);
  append_array_head(&entry.value, &entry.fields, kI32, values.size());
  for (int32_t value : values) {
    append(&entry.value, value);
  }
}

void GgufWriter::add_f32s(std::string_view key, std::span<const float> values) {
  Key& entry = add_key(key, kArray);
  append_array_head(&entry.value, &entry.fields, kF32, values.size());
  for (float value : values) {
    append(&entry.value, value);
  }
}

void GgufWriter::add_u8s(std::string_view key, std::span<const uint8_t> values) {
  Key& entry = add_key(key, kArray);
  append_array_head(&entry.value, &entry.fields, kU8, values.size());
  const auto bytes = std::as_bytes(values);
  entry.value.insert(entry.value.end(), bytes.begin(), bytes.end());
}

void GgufWriter::add_raw(std::string_view key, uint32_t type, std::span<const std::byte> value) {
  add_key(key, type).value.assign(value.begin(), value.end());
}

void GgufWriter::add_tensor(std::string_view name, std::vector<uint64_t> dims,
                            formats::TensorType type, std::vector<std::byte> bytes) {
  tensors_.push_back(
      {std::string(name), std::move(dims), static_cast<uint32_t>(type), std::move(bytes)});
}

GgufFile GgufWriter::build() const {
  GgufFile file;
  std::vector<std::byte>& out = file.bytes;
  auto mark = [&](std::string name, size_t num_bytes) {
    file.fields.push_back({std::move(name), out.size(), num_bytes});
  };

  mark("magic", 4);
  append<uint32_t>(&out, 0x46554747);
  mark("version", 4);
  append(&out, version_);
  mark("tensor count", 8);
  append<uint64_t>(&out, tensors_.size());
  mark("key count", 8);
  append<uint64_t>(&out, keys_.size());

  for (const Key& key : keys_) {
    mark("key length of " + key.name, 8);
    append_string(&out, key.name);
    mark("type of " + key.name, 4);
    append(&out, key.type);
    for (const GgufField& field : key.fields) {
      file.fields.push_back(
          {field.name + " of " + key.name, out.size() + field.offset, field.num_bytes});
    }
    out.insert(out.end(), key.value.begin(), key.value.end());
  }

  auto aligned = [this](size_t bytes) {
    return (bytes + alignment_ - 1) / alignment_ * alignment_;
  };
  uint64_t data_offset = 0;
  for (const Tensor& tensor : tensors_) {
    mark("name length of " + tensor.name, 8);
    append_string(&out, tensor.name);
    mark("n_dims of " + tensor.name, 4);
    append<uint32_t>(&out, static_cast<uint32_t>(tensor.dims.size()));
    for (size_t d = 0; d < tensor.dims.size(); ++d) {
      mark("dim " + std::to_string(d) + " of " + tensor.name, 8);
      append(&out, tensor.dims[d]);
    }
    mark("tensor type of " + tensor.name, 4);
    append(&out, tensor.type);
    mark("data offset of " + tensor.name, 8);
    append(&out, data_offset);
    data_offset = aligned(data_offset + tensor.bytes.size());
  }
  file.header_bytes = out.size();

  for (const Tensor& tensor : tensors_) {
    out.resize(aligned(out.size()));
    out.insert(out.end(), tensor.bytes.begin(), tensor.bytes.end());
    file.data_edges.push_back(out.size());
  }
  return file;
}

}  // namespace stet::testing
