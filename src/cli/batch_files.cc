#include "src/cli/batch_files.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <utility>

#include "stet/v1/inference.pb.h"
#include "stet/v1/model.pb.h"

namespace stet::cli {
namespace {

Status at_line(const std::string& path, size_t number, const std::string& message) {
  return invalid_argument(path + ":" + std::to_string(number) + ": " + message);
}

Status cannot(const char* what, const std::string& path) {
  return {StatusCode::kNotFound,
          std::string("cannot ") + what + " " + path + ": " + std::strerror(errno)};
}

}  // namespace

Result<BatchRequests> read_batch_file(const std::string& path,
                                      std::shared_ptr<const std::vector<v1::Model>> models) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) {
      return cannot("read", path);
    }
  }
  std::istream& in = path == "-" ? std::cin : file;
  BatchRequests requests;
  std::unordered_set<std::string> custom_ids;
  size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    auto request = proxy::BatchFileRequest::parse(line, models);
    if (!request.ok()) {
      return at_line(path, number, request.status().message());
    }
    if (!custom_ids.insert((*request)->custom_id()).second) {
      return at_line(path, number, "'custom_id' '" + (*request)->custom_id() + "' came before");
    }
    requests.push_back(std::move(request).value());
  }
  if (in.bad()) {
    return cannot("read", path);
  }
  return requests;
}

Result<BatchOutput> BatchOutput::open(const std::string& path) {
  BatchOutput out;
  if (path.empty()) {
    return out;
  }
  out.name_ = path;
  uint64_t whole_bytes = 0;
  {
    std::ifstream file(path);
    size_t number = 0;
    for (std::string line; std::getline(file, line) && !file.eof();) {  // eof: no newline
      ++number;
      Result<std::string> custom_id = proxy::answered_custom_id(line);
      if (!custom_id.ok()) {
        return at_line(path, number, "no answer of `stet batch`: " + custom_id.status().message());
      }
      out.answered_.insert(std::move(custom_id).value());
      whole_bytes += line.size() + 1;
    }
  }
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error) &&
      std::filesystem::file_size(path, error) != whole_bytes) {
    std::filesystem::resize_file(path, whole_bytes, error);
  }
  out.file_.reset(std::fopen(path.c_str(), "a"));
  if (out.file_ == nullptr) {
    return cannot("write", path);
  }
  return out;
}

Status BatchOutput::write(const std::string& line) {
  std::FILE* const file = file_ == nullptr ? stdout : file_.get();
  if (std::fwrite(line.data(), 1, line.size(), file) != line.size() || std::fflush(file) != 0) {
    return cannot("write", name_);
  }
  return {};
}

}  // namespace stet::cli
