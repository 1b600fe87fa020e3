// SHA-256 (OpenSSL, SHA-NI where the CPU has it). Used for KV keys (C8), model hash and numerics id
// (C0).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace stet {

using Sha256Digest = std::array<uint8_t, 32>;

// External synchronisation.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  // One field of a tagged list: tag length, tag, value length, value, so that two fields never
  // trade bytes.
  void update_field(std::string_view tag, std::span<const std::byte> value);
  void update_field(std::string_view tag, std::string_view value);
  Sha256Digest finish();  // and starts afresh

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Sha256Digest sha256(std::span<const std::byte> bytes);
std::string to_hex(std::span<const uint8_t> bytes);

}  // namespace stet
