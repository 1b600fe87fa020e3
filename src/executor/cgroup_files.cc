#include "src/executor/cgroup_files.h"

#include <sys/stat.h>

#include <charconv>
#include <fstream>
#include <sstream>
#include <vector>

namespace stet::executor {
namespace {

bool is_folder(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool lists_controller(const std::string& list, const std::string& controller) {
  std::stringstream names(list);
  for (std::string name; std::getline(names, name, ',');) {
    if (name == controller) {
      return true;
    }
  }
  return false;
}

// A line of /proc/self/cgroup is "id:controllers:path"; v2 has id 0 and no controllers.
std::string cgroup_path(const std::string& root, const std::string& controller) {
  const std::optional<std::string> text = read_small_file(root + "/proc/self/cgroup");
  std::stringstream lines(text.value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) {
      continue;
    }
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool found = controller.empty() ? controllers.empty() && line.compare(0, first, "0") == 0
                                          : lists_controller(controllers, controller);
    if (found) {
      return line.substr(second + 1);
    }
  }
  return "/";
}

}  // namespace

std::optional<std::string> read_small_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    return std::nullopt;
  }
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<uint64_t> parse_number(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string::npos) {
    return std::nullopt;
  }
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + begin, end, value);
  if (error != std::errc() ||
      std::string(rest, end).find_first_not_of(" \t\n") != std::string::npos) {
    return std::nullopt;
  }
  return value;
}

void for_each_cgroup(const std::string& root, const std::string& controller,
                     const std::function<void(const std::string&)>& visit) {
  // v1 mounts combine controllers ("cpu,cpuacct"); distributions link the single names to them.
  std::vector<std::string> mounts;
  if (controller.empty()) {
    mounts = {root + "/sys/fs/cgroup", root + "/sys/fs/cgroup/unified"};
  } else {
    mounts = {root + "/sys/fs/cgroup/" + controller};
  }
  for (const std::string& mount : mounts) {
    std::string path = cgroup_path(root, controller);
    while (true) {
      while (!path.empty() && path.back() == '/') {
        path.pop_back();
      }
      if (is_folder(mount + path)) {
        visit(mount + path);
      }
      if (path.empty()) {
        break;
      }
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  }
}

}  // namespace stet::executor
