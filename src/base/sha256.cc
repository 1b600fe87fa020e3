#include "stet/base/sha256.h"

#include <openssl/evp.h>

#include "stet/base/check.h"

namespace stet {

namespace {

// Fetched once: with EVP_sha256() OpenSSL 3 looks its provider up again at every start, which takes
// longer than hashing a block of tokens.
const EVP_MD* algorithm() {
  static const EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  STET_CHECK(md != nullptr, "OpenSSL has SHA-256");
  return md;
}

}  // namespace

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
  void restart() {
    STET_CHECK(EVP_DigestInit_ex2(context, algorithm(), nullptr) == 1, "SHA-256 starts");
  }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  state_->restart();
}
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  STET_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1, "SHA-256 update");
}

void Sha256::update(std::string_view text) {
  update(std::as_bytes(std::span(text)));
}

void Sha256::update_field(std::string_view tag, std::span<const std::byte> value) {
  const std::array<uint64_t, 2> lengths = {tag.size(), value.size()};
  update(std::as_bytes(std::span(lengths).first(1)));
  update(tag);
  update(std::as_bytes(std::span(lengths).last(1)));
  update(value);
}

void Sha256::update_field(std::string_view tag, std::string_view value) {
  update_field(tag, std::as_bytes(std::span(value)));
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest{};
  unsigned int size = 0;
  STET_CHECK(
      EVP_DigestFinal_ex(state_->context, digest.data(), &size) == 1 && size == digest.size(),
      "SHA-256 gives 32 bytes");
  state_->restart();
  return digest;
}

Sha256Digest sha256(std::span<const std::byte> bytes) {
  thread_local Sha256 hash;  // afresh after every finish
  hash.update(bytes);
  return hash.finish();
}

std::string to_hex(std::span<const uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (uint8_t byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

}  // namespace stet
