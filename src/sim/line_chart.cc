#include "src/sim/line_chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace stet::sim {
namespace {

constexpr double kWidth = 960, kHeight = 460;
constexpr double kLeft = 70, kRight = 690, kTop = 50,
                 kBottom = 400;  // of the plot; legend on the right
// Okabe and Ito 2008: told apart by colour-blind readers too.
constexpr const char* kColours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                    "#E69F00", "#56B4E9", "#000000", "#999999"};
constexpr size_t kNumColours = std::size(kColours);

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  }
  return out;
}

// 1, 2 or 5 times a power of ten, so that about five steps reach `most`.
double tick_step(double most) {
  const double rough = std::max(most, 1e-9) / 5.0;
  const double unit = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * unit >= rough) {
      return factor * unit;
    }
  }
  return 10.0 * unit;
}

struct Axis {
  explicit Axis(double most)
      : step(tick_step(most)),
        num_steps(std::max(1, static_cast<int>(std::ceil(most / step - 1e-9)))),
        end(step * num_steps) {}
  double step;
  int num_steps;
  double end;
};

class Canvas {
 public:
  Canvas(const Chart& chart, double x_most, double y_most)
      : chart_(chart), x_(x_most), y_(y_most) {}

  std::string draw() {
    append(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" "
        "font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"%g\" height=\"%g\" "
        "fill=\"white\"/>\n",
        kWidth, kHeight, kWidth, kHeight);
    text(kLeft, kTop - 22, "start", "font-size=\"15\"", chart_.title);
    axes();
    for (size_t i = 0; i < chart_.series.size(); ++i) {
      line(chart_.series[i], kColours[i % kNumColours]);
      legend(i);
    }
    return svg_ + "</svg>\n";
  }

 private:
  double px(double x) const { return kLeft + x / x_.end * (kRight - kLeft); }
  double py(double y) const { return kBottom - y / y_.end * (kBottom - kTop); }

  template <class... Args>
  void append(const char* format, Args... args) {
    char buffer[400];
    std::snprintf(buffer, sizeof buffer, format, args...);
    svg_ += buffer;
  }
  void text(double x, double y, const char* anchor, const char* more, const std::string& what) {
    append("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" %s>", x, y, anchor, more);
    svg_ += escape(what) + "</text>\n";
  }
  static std::string number(double value) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%g", value);
    return buffer;
  }

  void axes() {
    for (int i = 0; i <= x_.num_steps; ++i) {
      const double x = x_.step * i;
      append("<line x1=\"%.1f\" y1=\"%g\" x2=\"%.1f\" y2=\"%g\" stroke=\"#ddd\"/>\n", px(x), kTop,
             px(x), kBottom);
      text(px(x), kBottom + 18, "middle", "", number(x));
    }
    for (int i = 0; i <= y_.num_steps; ++i) {
      const double y = y_.step * i;
      append("<line x1=\"%g\" y1=\"%.1f\" x2=\"%g\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", kLeft, py(y),
             kRight, py(y));
      text(kLeft - 8, py(y) + 4, "end", "", number(y));
    }
    text((kLeft + kRight) / 2, kBottom + 42, "middle", "", chart_.x_label);
    char turn[60];
    std::snprintf(turn, sizeof turn, "transform=\"rotate(-90 18 %g)\"", (kTop + kBottom) / 2);
    text(18, (kTop + kBottom) / 2, "middle", turn, chart_.y_label);
  }

  void line(const Series& series, const char* colour) {
    append("<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" points=\"", colour);
    for (const auto& [x, y] : series.points) {
      append("%.1f,%.1f ", px(x), py(y));
    }
    svg_ += "\"/>\n";
    for (size_t i = 0; chart_.markers && i < series.points.size(); ++i) {
      append("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", px(series.points[i].first),
             py(series.points[i].second), colour);
    }
  }

  void legend(size_t i) {
    const double y = kTop + 10 + 20 * static_cast<double>(i);
    append("<line x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\" stroke=\"%s\" stroke-width=\"3\"/>\n",
           kRight + 12, y - 4, kRight + 32, y - 4, kColours[i % kNumColours]);
    text(kRight + 38, y, "start", "font-size=\"11\"", chart_.series[i].name);
  }

  const Chart& chart_;
  const Axis x_, y_;
  std::string svg_;
};

}  // namespace

std::string line_chart(const Chart& chart) {
  double x_most = 0.0, y_most = 0.0;
  for (const Series& series : chart.series) {
    for (const auto& [x, y] : series.points) {
      x_most = std::max(x_most, x);
      y_most = std::max(y_most, y);
    }
  }
  return Canvas(chart, x_most, y_most).draw();
}

}  // namespace stet::sim
