#include "src/model/parallel.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace stet::model {

void run_jobs(uint32_t num_threads, size_t num_jobs, const std::function<void(size_t)>& job,
              const std::function<void(size_t)>& progress) {
  std::atomic<size_t> next{0};
  auto work = [&](bool reports) noexcept {
    for (size_t i = next.fetch_add(1); i < num_jobs; i = next.fetch_add(1)) {
      job(i);
      if (reports) {
        progress(std::min(next.load(), num_jobs));
      }
    }
  };
  std::vector<std::jthread> helpers;
  const size_t num_helpers =
      std::min<size_t>(std::max(num_threads, 1u), num_jobs) - (num_jobs > 0 ? 1 : 0);
  helpers.reserve(num_helpers);
  try {
    for (size_t i = 0; i < num_helpers; ++i) {
      helpers.emplace_back(work, false);
    }
  } catch (const std::system_error&) {
    // A thread limit makes loading slower, not wrong: the threads that exist do all the jobs.
  }
  work(progress != nullptr);
}

}  // namespace stet::model
