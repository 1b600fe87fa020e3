// Runs jobs 0..num_jobs-1 on up to num_threads threads, the caller included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace stet::model {

// `job` runs concurrently with itself and must not throw. `progress`, if set, is called on the
// caller's thread with the number of jobs that were handed out.
void run_jobs(uint32_t num_threads, size_t num_jobs, const std::function<void(size_t)>& job,
              const std::function<void(size_t)>& progress);

}  // namespace stet::model
