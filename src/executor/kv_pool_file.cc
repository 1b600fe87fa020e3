#include "src/executor/kv_pool_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace stet::executor {
namespace {

// Shared between the threads in turn: large enough that a call is cheap, small enough to balance.
constexpr uint64_t kPrefaultBytes = uint64_t{8} << 20;

Status refused(const char* what, uint64_t num_bytes) {
  return resource_exhausted(std::string("the KV pool of ") + std::to_string(num_bytes) +
                            " bytes: " + what + ": " + std::strerror(errno));
}

// 0, or errno.
int populate(std::byte* data, uint64_t num_bytes) {
  if (madvise(data, num_bytes, MADV_POPULATE_WRITE) == 0) {
    return 0;
  }
  if (errno != EINVAL) {
    return errno;
  }
  // Linux before 5.14. Pages of a new file are zero: writing zero changes nothing.
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  for (uint64_t at = 0; at < num_bytes; at += page) {
    *static_cast<volatile std::byte*>(data + at) = std::byte{0};
  }
  return 0;
}

}  // namespace

Result<KvPoolFile> KvPoolFile::create(uint64_t num_bytes) {
  KvPoolFile file;
  file.fd_ = memfd_create("stet-kv-pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file.fd_ < 0) {
    return refused("memfd_create", num_bytes);
  }
  if (ftruncate(file.fd_, static_cast<off_t>(num_bytes)) != 0) {
    return refused("ftruncate", num_bytes);
  }
  // A file that cannot shrink cannot raise SIGBUS under a kernel.
  if (fcntl(file.fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return refused("F_ADD_SEALS", num_bytes);
  }
  void* data = mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd_, 0);
  if (data == MAP_FAILED) {
    return refused("mmap", num_bytes);
  }
  file.data_ = static_cast<std::byte*>(data);
  file.num_bytes_ = num_bytes;
  return file;
}

KvPoolFile::KvPoolFile(KvPoolFile&& other) noexcept {
  *this = std::move(other);
}

KvPoolFile& KvPoolFile::operator=(KvPoolFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(num_bytes_, other.num_bytes_);
  return *this;
}

KvPoolFile::~KvPoolFile() {
  if (data_ != nullptr) {
    munmap(data_, num_bytes_);
  }
  if (fd_ >= 0) {
    close(fd_);
  }
}

Status KvPoolFile::prefault(uint32_t num_threads) {
  std::atomic<uint64_t> next{0};
  std::atomic<int> error{0};
  auto work = [&] {
    for (;;) {
      const uint64_t at = next.fetch_add(kPrefaultBytes, std::memory_order_relaxed);
      if (at >= num_bytes_ || error.load(std::memory_order_relaxed) != 0) {
        return;
      }
      if (const int e = populate(data_ + at, std::min(kPrefaultBytes, num_bytes_ - at)); e != 0) {
        error.store(e, std::memory_order_relaxed);
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (uint32_t t = 1; t < num_threads; ++t) {
      helpers.emplace_back(work);
    }
    work();
  }
  errno = error.load(std::memory_order_relaxed);
  return errno == 0 ? Status() : refused("MADV_POPULATE_WRITE", num_bytes_);
}

}  // namespace stet::executor
