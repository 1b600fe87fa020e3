// Opens a model file once, with one size: what the parser checks is what it reads.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "stet/formats/tensor_index.h"

namespace stet::formats {
namespace {

struct Descriptor {
  int fd = -1;
  Descriptor() = default;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd >= 0) {
      ::close(fd);
    }
  }
};

Status unreadable(const std::string& path, const char* what) {
  return not_found(printable(path, 512) + ": " + what);
}

}  // namespace

Result<TensorIndex> open_gguf(const std::string& path) {
  Descriptor file;
  // O_NONBLOCK: opening a FIFO without a writer must not hang; it has no effect on regular files.
  file.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd < 0) {
    return unreadable(path, std::strerror(errno));
  }
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) {
    return unreadable(path, std::strerror(errno));
  }
  if (!S_ISREG(info.st_mode)) {
    return unreadable(path, "not a regular file");
  }
  const auto num_bytes = static_cast<size_t>(info.st_size);
  if (num_bytes == 0) {
    return data_loss(printable(path, 512) +
                     ": magic at offset 0: found an empty file, expected 'GGUF'");
  }
  void* base = ::mmap(nullptr, num_bytes, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (base == MAP_FAILED) {
    return unreadable(path, std::strerror(errno));
  }
  std::shared_ptr<const void> owner(base,
                                    [num_bytes](void* mapped) { ::munmap(mapped, num_bytes); });

  Result<TensorIndex> index = parse_gguf({static_cast<const std::byte*>(base), num_bytes});
  if (!index.ok()) {
    return index.status().with_context(printable(path, 512));
  }
  index->owner = std::move(owner);
  index->stem = std::filesystem::path(path).stem().string();
  return index;
}

}  // namespace stet::formats
