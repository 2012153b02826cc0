#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cli/comparison.h"
#include "telemetry/progress.h"

namespace sluice::cli {
namespace {

constexpr int kLeft = 130, kBar = 560, kRight = 150, kRow = 24, kTitle = 34;
constexpr const char* kColors[] = {"#4878a8", "#e49444", "#6a9f58", "#d1615d", "#85b6b2",
                                   "#a87c9f", "#967662", "#b8b0ac", "#e7ca60", "#f1a2a9"};

std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

// Panels one below another, each with a row per preset.
class Chart {
 public:
  explicit Chart(std::vector<ComparedPreset> presets) : presets_(std::move(presets)) {}

  void Caption(const std::string& text) {
    Text(10, y_ + 16, text, "start", "#444", 11);
    y_ += 18;
  }

  // A bar for each preset; parts of it side by side where there are several.
  struct Part {
    std::string name;
    std::vector<double> values;  // [presets]
  };
  void Bars(const std::string& title, const std::vector<Part>& parts, const std::vector<MeanSpread>& totals,
            int digits) {
    Title(title);
    double most = 0;
    for (const MeanSpread& total : totals)
      if (total.n > 0) most = std::max(most, total.mean + total.spread);
    for (size_t p = 0; p < presets_.size(); ++p) {
      Name(p);
      if (totals[p].n > 0 && most > 0) {
        double x = kLeft;
        for (size_t k = 0; k < parts.size(); ++k) {
          const double width = kBar * parts[k].values[p] / most;
          svg_ += fmt::format(
              R"(<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" fill="{}"><title>{} {:.1f}</title></rect>)"
              "\n",
              x, y_ + 4, std::max(0.0, width), kRow - 8, kColors[k % std::size(kColors)], Escaped(parts[k].name),
              parts[k].values[p]);
          x += width;
        }
        Whisker(kLeft + kBar * (totals[p].mean - totals[p].spread) / most,
                kLeft + kBar * (totals[p].mean + totals[p].spread) / most, totals[p]);
        Text(kLeft + kBar * (totals[p].mean + totals[p].spread) / most + 6, y_ + 16,
             fmt::format("{:.{}f}", totals[p].mean, digits), "start", "#222", 12);
      }
      y_ += kRow;
    }
    if (parts.size() > 1) Legend(parts);
  }

  // A dot for each preset on a scale from the least to the greatest value.
  void Dots(const std::string& title, const std::vector<MeanSpread>& values, int digits) {
    Title(title);
    double least = HUGE_VAL, most = -HUGE_VAL;
    for (const MeanSpread& value : values) {
      if (value.n == 0) continue;
      least = std::min(least, value.mean - value.spread);
      most = std::max(most, value.mean + value.spread);
    }
    const double range = most > least ? most - least : 1;
    for (size_t p = 0; p < presets_.size(); ++p) {
      Name(p);
      if (values[p].n > 0) {
        const auto at = [&](double value) { return kLeft + 10 + (kBar - 20) * (value - least) / range; };
        Whisker(at(values[p].mean - values[p].spread), at(values[p].mean + values[p].spread), values[p]);
        svg_ += fmt::format(R"(<circle cx="{:.1f}" cy="{}" r="4.5" fill="{}"/>)"
                            "\n",
                            at(values[p].mean), y_ + kRow / 2, kColors[0]);
        Text(kLeft + kBar + 6, y_ + 16, fmt::format("{:.{}f}", values[p].mean, digits), "start", "#222", 12);
      }
      y_ += kRow;
    }
  }

  std::string Svg() const {
    const int width = kLeft + kBar + kRight;
    return fmt::format(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
                       R"(font-family="sans-serif">)"
                       "\n"
                       R"(<rect width="{0}" height="{1}" fill="white"/>)"
                       "\n{2}</svg>\n",
                       width, y_ + 12, svg_);
  }

 private:
  void Text(double x, int y, const std::string& text, const char* anchor, const char* color, int size) {
    svg_ += fmt::format(R"(<text x="{:.1f}" y="{}" text-anchor="{}" fill="{}" font-size="{}">{}</text>)"
                        "\n",
                        x, y, anchor, color, size, Escaped(text));
  }
  void Title(const std::string& title) {
    Text(10, y_ + 24, title, "start", "#000", 14);
    y_ += kTitle;
  }
  void Name(size_t p) {
    Text(kLeft - 8, y_ + 16, presets_[p].preset, "end", "#222", 12);
    if (presets_[p].done.empty())
      Text(kLeft + 4, y_ + 16, presets_[p].not_supported ? "not supported" : "failed", "start", "#999", 12);
  }
  void Whisker(double from, double to, const MeanSpread& value) {
    if (value.n < 2) return;
    svg_ += fmt::format(R"(<line x1="{0:.1f}" x2="{1:.1f}" y1="{2}" y2="{2}" stroke="#222"/>)"
                        "\n",
                        from, to, y_ + kRow / 2);
  }
  void Legend(const std::vector<Part>& parts) {
    double x = kLeft;
    for (size_t k = 0; k < parts.size(); ++k) {
      const double width = 30 + 6.5 * static_cast<double>(parts[k].name.size());
      if (x + width > kLeft + kBar + kRight) {
        x = kLeft;
        y_ += kRow - 6;
      }
      svg_ += fmt::format(R"(<rect x="{:.1f}" y="{}" width="10" height="10" fill="{}"/>)"
                          "\n",
                          x, y_ + 5, kColors[k % std::size(kColors)]);
      Text(x + 14, y_ + 14, parts[k].name, "start", "#444", 11);
      x += width;
    }
    y_ += kRow;
  }

  std::vector<ComparedPreset> presets_;
  std::string svg_;
  int y_ = 4;
};

}  // namespace

std::string ToSvg(const Comparison& comparison) {
  const auto presets = ByPreset(comparison);
  const auto all = [&](double ComparedRun::*value) {
    std::vector<MeanSpread> means;
    for (const ComparedPreset& preset : presets) means.push_back(preset.Of(value));
    return means;
  };
  const auto mean_values = [](const std::vector<MeanSpread>& totals) {
    std::vector<double> values;
    for (const MeanSpread& total : totals) values.push_back(total.n > 0 ? total.mean : 0);
    return values;
  };
  Chart chart(presets);
  chart.Caption(fmt::format("{}: {} ranks, {} cores in all, {}", comparison.config, comparison.ranks, comparison.cores,
                            comparison.network));
  const auto rates = all(&ComparedRun::samples_per_s);
  chart.Bars("samples/s", {{"samples/s", mean_values(rates)}}, rates, 0);

  std::map<std::string, std::vector<double>> by_kind;
  for (size_t p = 0; p < presets.size(); ++p)
    for (const auto& [kind, bytes] : presets[p].bytes_per_sample())
      by_kind.try_emplace(kind, presets.size(), 0.0).first->second[p] = bytes;
  std::vector<Chart::Part> parts;
  for (const auto& [kind, values] : by_kind)
    if (*std::max_element(values.begin(), values.end()) > 0) parts.push_back({kind, values});
  chart.Bars("payload bytes sent per sample, all processes together", parts, all(&ComparedRun::sent_per_sample), 1);

  std::vector<MeanSpread> memory;
  for (const ComparedPreset& preset : presets)
    memory.push_back({static_cast<double>(preset.largest_rss_bytes()) / (1 << 20), 0, preset.done.empty() ? 0 : 1});
  chart.Bars("peak memory of the largest process, MiB", {{"MiB", mean_values(memory)}}, memory, 0);
  chart.Dots("AUC: " + comparison.evaluated, all(&ComparedRun::auc), 5);
  return chart.Svg();
}

}  // namespace sluice::cli
