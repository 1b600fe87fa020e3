// A text line by line.
#pragma once

#include <sstream>
#include <string>
#include <vector>

namespace stet::obs {

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::stringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(line);
  }
  return lines;
}

}  // namespace stet::obs
