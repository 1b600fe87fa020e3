// The two files of `stet batch`.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "stet/base/status.h"
#include "stet/proxy/batch_file.h"

namespace stet::cli {

using BatchRequests = std::vector<std::unique_ptr<proxy::BatchFileRequest>>;

// All lines of the file ("-" = standard input); blank ones are skipped. NOT_FOUND: it cannot be
// read. INVALID_ARGUMENT names the line that is wrong, or whose custom_id came before.
Result<BatchRequests> read_batch_file(const std::string& path,
                                      std::shared_ptr<const std::vector<v1::Model>> models);

// Whole lines, each handed to the system at once: whoever ends the program leaves no half of one,
// and if the machine did, `open` cuts it off.
class BatchOutput {
 public:
  // "" = standard output. INVALID_ARGUMENT: the file holds lines that are no answers.
  static Result<BatchOutput> open(const std::string& path);

  bool has(const std::string& custom_id) const { return answered_.contains(custom_id); }
  Status write(const std::string& line);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string name_ = "standard output";
  std::unique_ptr<std::FILE, Close> file_;  // null: standard output
  std::unordered_set<std::string> answered_;
};

}  // namespace stet::cli
