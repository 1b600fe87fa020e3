// Reads what the cgroups of this process say, v1 and v2, mounted side by side or alone.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace stet::executor {

// Whole content, or nothing when the file is missing or unreadable.
std::optional<std::string> read_small_file(const std::string& path);

// Calls `visit(folder)` with every existing candidate folder of this process's cgroup and of all
// its ancestors: for v2
// (`controller` empty) or a v1 controller ("memory", "cpu"). Paths include `root`. In a container
// the process's path may not exist below the mount; then its nearest existing ancestors are
// visited, at last the mount itself.
void for_each_cgroup(const std::string& root, const std::string& controller,
                     const std::function<void(const std::string& folder)>& visit);

// An unsigned decimal number and nothing else but white space.
std::optional<uint64_t> parse_number(const std::string& text);

}  // namespace stet::executor
