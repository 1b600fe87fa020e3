#include <unistd.h>

#include <string>

#include "stet/executor/kv_memory.h"

namespace stet::executor {

const char* kv_mode_name(KvMode mode) {
  return mode == KvMode::kVirtual ? "virtual" : "paged";
}

std::optional<KvMode> kv_mode_of_name(std::string_view name) {
  for (const KvMode mode : {KvMode::kPaged, KvMode::kVirtual}) {
    if (name == kv_mode_name(mode)) {
      return mode;
    }
  }
  return std::nullopt;
}

uint64_t kv_slot_stride(KvMode mode, uint64_t block_bytes) {
  if (mode == KvMode::kPaged) {
    return block_bytes;
  }
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return (block_bytes + page - 1) / page * page;
}

uint64_t kv_mapping_bytes(KvMode mode, uint64_t block_bytes) {
  if (mode == KvMode::kPaged) {
    return 0;
  }
  const uint64_t stride = kv_slot_stride(mode, block_bytes);
  constexpr uint64_t kBytesPerTableByte = 4096 / 8;  // x86-64: an entry of 8 bytes for 4 KiB
  return stride - block_bytes + (1 + kMaxMappedPools) * stride / kBytesPerTableByte;
}

Status check_kv_pool(const kernels::KvTileLayout& layout, uint32_t num_blocks) {
  if (num_blocks != 0 && layout.block_tokens != 0 && layout.block_tokens % kernels::kTile == 0 &&
      layout.block_bytes() != 0) {
    return {};
  }
  return invalid_argument(
      "a KV pool needs blocks of a multiple of 64 tokens and at least one of them: got " +
      std::to_string(num_blocks) + " blocks of " + std::to_string(layout.block_tokens) + " tokens");
}

}  // namespace stet::executor
