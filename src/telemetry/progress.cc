#include "telemetry/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>

#include "telemetry/resource.h"

namespace sluice::telemetry {
namespace {

constexpr const char* kWipe = "\r\x1b[K";

void WriteToStandardError(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

int TerminalColumns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string HumanCount(double value) {
  if (value >= 999.5e6) return fmt::format("{:.3g} G", value / 1e9);
  if (value >= 999.5e3) return fmt::format("{:.3g} M", value / 1e6);
  if (value >= 999.5) return fmt::format("{:.3g} k", value / 1e3);
  return fmt::format("{:.0f}", value);
}

std::string HumanDuration(double seconds) {
  if (seconds < 59.95) return fmt::format("{:.1f}s", seconds);
  const auto s = static_cast<int64_t>(std::llround(seconds));
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
}

std::string HumanBytes(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  int unit = 0;
  while (bytes >= 1024 && unit < 5) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, units[unit]);
}

Progress::Progress(ProgressOptions options) : options_(std::move(options)) {
  if (!options_.write) {
    options_.write = WriteToStandardError;
    options_.live = ::isatty(STDERR_FILENO) == 1;
  }
  if (!options_.clock) options_.clock = WallSeconds;
}

Progress::~Progress() { Clear(); }

bool Progress::Due() const {
  if (options_.quiet) return false;
  return !started_ || options_.clock() - shown_at_ >= (options_.live ? options_.live_interval_s : options_.log_interval_s);
}

void Progress::Clear() {
  if (drawn_) options_.write(kWipe);
  drawn_ = false;
}

std::string Progress::Line(const ProgressState& state, double rate, double eta_s) const {
  std::string line;
  const auto add = [&](const char* live, const char* logged, const std::string& value, const std::string& raw) {
    if (!line.empty()) line += options_.live ? "  " : " ";
    line += options_.live ? fmt::format("{}{}", value, live) : fmt::format("{}={}", logged, raw);
  };
  add("", "phase", state.phase, state.phase);
  if (state.step > 0) add("", "step", fmt::format("step {}", state.step), fmt::to_string(state.step));
  add(" samples", "samples", HumanCount(static_cast<double>(state.samples)), fmt::to_string(state.samples));
  if (state.fraction > 0)
    add("%", "fraction", fmt::format("{:.1f}", 100 * state.fraction), fmt::format("{:.4f}", state.fraction));
  if (rate > 0) add(" samples/s", "samples_per_s", HumanCount(rate), fmt::format("{:.0f}", rate));
  if (!std::isnan(state.loss))
    add("", "loss", fmt::format("loss {:.4f}", state.loss), fmt::format("{:.6g}", state.loss));
  if (!std::isnan(state.auc))
    add("", "auc_approximate", fmt::format("AUC ~{:.4f}", state.auc), fmt::format("{:.5f}", state.auc));
  for (const auto& [kind, bytes] : state.bytes_per_sample)
    add("", (kind + "_bytes_per_sample").c_str(), fmt::format("{} {:.0f} B/sample", kind, bytes),
        fmt::format("{:.1f}", bytes));
  if (eta_s >= 0) add("", "eta_s", "ETA " + HumanDuration(eta_s), fmt::format("{:.0f}", eta_s));
  return line;
}

void Progress::Show(const ProgressState& state, bool last) {
  if (options_.quiet || (!last && !Due())) return;
  const double now = options_.clock();
  if (!started_ || state.samples < shown_samples_) {  // the first of a phase: nothing to make a rate of yet
    started_ = true;
    phase_begin_ = shown_at_ = now;
    phase_fraction_ = state.fraction;
    phase_samples_ = shown_samples_ = state.samples;
    if (!last) return;
  }
  // The last line of a phase gives the rate of the whole phase.
  const double since = last ? phase_begin_ : shown_at_;
  const int64_t before = last ? phase_samples_ : shown_samples_;
  const double rate = now > since ? static_cast<double>(state.samples - before) / (now - since) : 0;
  const double done = state.fraction - phase_fraction_;
  const double eta_s = !last && done > 0 ? (now - phase_begin_) * (1 - state.fraction) / done : -1;
  std::string line = Line(state, rate, eta_s);
  shown_at_ = now;
  shown_samples_ = state.samples;
  if (!options_.live) {
    options_.write(line + "\n");
  } else {
    const int columns = options_.columns > 0 ? options_.columns : TerminalColumns();
    // A line as wide as the terminal would wrap on some.
    if (static_cast<int>(line.size()) >= columns) line.resize(static_cast<size_t>(std::max(columns - 1, 0)));
    options_.write(kWipe + line + (last ? "\n" : ""));
    drawn_ = !last;
  }
  if (last) started_ = false;
}

}  // namespace sluice::telemetry
