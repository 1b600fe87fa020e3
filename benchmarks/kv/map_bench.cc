// The cost table of kv.md sec. 8 on this machine: mapping, first writes, unmapping and copying one
// slot of a pre-faulted memfd; when maps merge; what giving a pool its pages costs.   kv_map_bench
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "src/executor/cpu/arena.h"
#include "src/executor/kv_pool_file.h"
#include "stet/executor/kv_memory.h"

namespace stet::executor {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kSmolBlock = 1474560;  // 64 positions of SmolLM2-135M
constexpr int kRepetitions = 400;

using Clock = std::chrono::steady_clock;
double us_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

KvPoolFile open_pool(uint64_t num_bytes, uint32_t prefault_threads) {
  auto pool = KvPoolFile::create(num_bytes);
  const Status status =
      pool.ok() && prefault_threads != 0 ? pool->prefault(prefault_threads) : pool.status();
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.to_string().c_str());
    std::exit(1);
  }
  return std::move(pool).value();
}

std::byte* map(void* address, uint64_t num_bytes, int protection, int flags, int fd, uint64_t at) {
  void* mapped = mmap(address, num_bytes, protection, flags, fd, static_cast<off_t>(at));
  if (mapped == MAP_FAILED) {
    std::perror("mmap");
    std::exit(1);
  }
  return static_cast<std::byte*>(mapped);
}
constexpr int kReserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
constexpr int kFixed = MAP_SHARED | MAP_FIXED;

// Mean and median: a mean of 400 calls hides neither page-table pages nor interruptions.
struct Times {
  std::vector<double> us;
  void add(double value) { us.push_back(value); }
  std::string text() {
    double sum = 0;
    for (const double value : us) {
      sum += value;
    }
    std::nth_element(us.begin(), us.begin() + static_cast<ptrdiff_t>(us.size() / 2), us.end());
    char line[48];
    std::snprintf(line, sizeof line, "%8.2f (%.2f)", sum / static_cast<double>(us.size()),
                  us[us.size() / 2]);
    return line;
  }
};

void measure_slot(const KvPoolFile& pool, uint64_t pool_bytes, uint64_t slot) {
  const auto num_slots = static_cast<uint32_t>(pool_bytes / slot);
  std::byte* const range = map(nullptr, 2 * slot, PROT_NONE, kReserve, -1, 0);
  std::mt19937 random(1);
  Times lazy, writes, populated, protect, unmap, copy;
  for (int i = 0; i < kRepetitions; ++i) {
    const uint64_t at = random() % num_slots * slot;
    auto begin = Clock::now();
    map(range, slot, PROT_READ | PROT_WRITE, kFixed, pool.fd(), at);
    lazy.add(us_since(begin));
    begin = Clock::now();
    for (uint64_t page = 0; page < slot; page += kPage) {
      static_cast<volatile std::byte*>(range)[page] = std::byte{1};
    }
    writes.add(us_since(begin));
    map(range, slot, PROT_NONE, kReserve | MAP_FIXED, -1, 0);
    begin = Clock::now();
    map(range, slot, PROT_READ | PROT_WRITE, kFixed | MAP_POPULATE, pool.fd(), at);
    populated.add(us_since(begin));
    begin = Clock::now();
    if (mprotect(range, slot, PROT_READ) != 0) {
      std::perror("mprotect");
    }
    protect.add(us_since(begin));
    begin = Clock::now();
    map(range, slot, PROT_NONE, kReserve | MAP_FIXED, -1, 0);
    unmap.add(us_since(begin));
    const uint64_t to = random() % num_slots * slot;
    begin = Clock::now();
    std::memmove(pool.data() + to, pool.data() + at, slot);
    copy.add(us_since(begin));
  }
  munmap(range, 2 * slot);
  std::printf("%9llu %17s %17s %17s %17s %17s %17s\n", static_cast<unsigned long long>(slot),
              lazy.text().c_str(), writes.text().c_str(), populated.text().c_str(),
              protect.text().c_str(), unmap.text().c_str(), copy.text().c_str());
}

size_t count_maps() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<size_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

void measure_merging(const KvPoolFile& pool, uint64_t pool_bytes) {
  constexpr uint32_t kMaps = 16384;
  const uint64_t slot = kPage;
  std::byte* const range = map(nullptr, kMaps * slot, PROT_NONE, kReserve, -1, 0);
  for (const bool consecutive : {true, false}) {
    const size_t before = count_maps();
    for (uint32_t i = 0; i < kMaps; ++i) {
      const uint64_t at = consecutive ? i : i * 2;
      map(range + i * slot, slot, PROT_READ, kFixed, pool.fd(), at * slot % pool_bytes);
    }
    std::printf("%u maps of 4 KiB, %s file offsets: %+lld VMAs\n", kMaps,
                consecutive ? "consecutive" : "every second of the",
                static_cast<long long>(count_maps()) - static_cast<long long>(before));
    map(range, kMaps * slot, PROT_NONE, kReserve | MAP_FIXED, -1, 0);
  }
  munmap(range, kMaps * slot);
}

void measure_prefault(uint64_t num_bytes) {
  auto line = [&](const char* what, double us) {
    std::printf("%-52s %8.1f ms, %6.1f ms per GiB\n", what, us / 1e3,
                us / 1e3 * 1024.0 * kMiB / static_cast<double>(num_bytes));
  };
  for (int round = 0; round < 3; ++round) {  // the first may meet memory that the host never gave
    for (const uint32_t threads : {1u, 2u}) {
      const auto begin = Clock::now();
      const KvPoolFile pool = open_pool(num_bytes, threads);
      line(threads == 1 ? "memfd, 4 KiB pages, 1 thread" : "memfd, 4 KiB pages, 2 threads",
           us_since(begin));
    }
    auto arena = Arena::map(num_bytes, "the benchmark");
    if (arena.ok()) {
      const auto begin = Clock::now();
      std::memset(arena->data(), 0, num_bytes);
      line("anonymous, huge pages wished, 1 thread (paged)", us_since(begin));
    }
  }
}

// A sequence of 32 SmolLM2 blocks is created, filled block by block and destroyed, over and over.
void measure_memory(const char* what, bool same_slots) {
  constexpr uint32_t kSlots = 256, kBlocks = 32;
  auto kv = open_virtual_kv_memory(
      {.layout = {.num_layers = 30, .num_kv_heads = 3, .head_dim = 64, .block_tokens = 64},
       .num_blocks = kSlots,
       .max_sequence_blocks = kBlocks,
       .prefault_threads = 2});
  if (!kv.ok()) {
    std::fprintf(stderr, "%s\n", kv.status().to_string().c_str());
    std::exit(1);
  }
  std::vector<BlockId> free(kSlots);
  for (uint32_t i = 0; i < kSlots; ++i) {
    free[i] = BlockId{i};
  }
  std::mt19937 random(2);
  std::shuffle(free.begin(), free.end(), random);
  Times append, view;
  uint64_t calls = 0;
  for (uint64_t seq = 1; seq <= 40; ++seq) {
    if (!same_slots) {
      std::shuffle(free.begin(), free.end(), random);
    }
    const uint64_t before = (*kv)->stats().map_calls;
    (*kv)->create(SeqId{seq}, kBlocks);
    for (uint32_t b = 0; b < kBlocks; ++b) {
      const auto begin = Clock::now();
      (*kv)->append(SeqId{seq}, {&free[b], 1});
      append.add(us_since(begin));
    }
    (*kv)->destroy(SeqId{seq});
    calls = (*kv)->stats().map_calls - before;
  }
  std::printf("%-44s %s us per block, %llu calls of the last sequence\n", what,
              append.text().c_str(), static_cast<unsigned long long>(calls));
}

int run() {
  constexpr uint64_t kPoolBytes = 512 * kMiB;
  std::printf("us per call: mean (median) of %d, random slots of a pre-faulted memfd of 512 MiB\n",
              kRepetitions);
  std::printf("%9s %17s %17s %17s %17s %17s %17s\n", "slot", "map, no populate", "first writes",
              "map + populate", "to read-only", "unmap", "memcpy of slot");
  const KvPoolFile pool = open_pool(kPoolBytes, 2);
  for (const uint64_t slot : {kPage, 16 * kPage, kSmolBlock, 2 * kMiB}) {
    measure_slot(pool, kPoolBytes, slot);
  }
  std::printf("\n");
  measure_merging(pool, kPoolBytes);
  std::printf("\n720 MiB, SmolLM2's default pool of 512 blocks, from nothing to written:\n");
  measure_prefault(512 * kSmolBlock);
  std::printf("\nKvMemory, sequences of 32 SmolLM2 blocks one after another:\n");
  measure_memory("append, the slots of the sequence before", true);
  measure_memory("append, other slots each time", false);
  return 0;
}

}  // namespace
}  // namespace stet::executor

int main() {
  return stet::executor::run();
}
