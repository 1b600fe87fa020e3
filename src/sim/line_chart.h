// A line chart as SVG text.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace stet::sim {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // by x
};
struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool markers = false;  // a dot at every point: for few points
};

// Both axes start at 0 and end at a round number; values are not negative.
std::string line_chart(const Chart& chart);

}  // namespace stet::sim
