#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace sluice::telemetry {

// Where a run stands. NaN and 0 mean unknown; what is unknown is not shown.
struct ProgressState {
  const char* phase = "train";
  int64_t step = 0;
  int64_t samples = 0;
  double fraction = 0;  // of the work, 0 to 1
  double loss = std::numeric_limits<double>::quiet_NaN();
  double auc = std::numeric_limits<double>::quiet_NaN();  // approximate
  std::vector<std::pair<std::string, double>> bytes_per_sample = {};  // by kind of traffic
};

struct ProgressOptions {
  bool quiet = false;
  double live_interval_s = 0.2;  // between redraws on a terminal
  double log_interval_s = 10;    // between lines elsewhere
  // For tests; left out, output goes to standard error, a live line where that is a terminal.
  std::function<void(const std::string&)> write = {};
  std::function<double()> clock = {};
  bool live = false;
  int columns = 0;
};

// Shows progress: on a terminal one line that is redrawn, elsewhere one structured line (name=value) every interval.
// Threads      one at a time.
// Cost         Due is a clock reading; ask it before making a ProgressState.
class Progress {
 public:
  explicit Progress(ProgressOptions options = {});
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Whether Update would show anything now.
  bool Due() const;
  // Shows the state if it is due. Rates are those since the last time shown, the ETA that of the whole phase.
  void Update(const ProgressState& state) { Show(state, false); }
  // Shows the state in any case; on a terminal the line then stays, and a next phase starts a new one.
  void Finish(const ProgressState& state) { Show(state, true); }
  // Wipes the live line, so that something else can be printed; the next Update draws it again.
  void Clear();

 private:
  void Show(const ProgressState& state, bool last);
  std::string Line(const ProgressState& state, double rate, double eta_s) const;

  ProgressOptions options_;
  bool drawn_ = false;
  bool started_ = false;
  double phase_begin_ = 0, phase_fraction_ = 0;
  int64_t phase_samples_ = 0;
  double shown_at_ = 0;
  int64_t shown_samples_ = 0;
};

// "1.23 M", "45.6 k", "789".
std::string HumanCount(double value);
// "1h02m", "3m04s", "5.6s".
std::string HumanDuration(double seconds);
// "1.2 GiB".
std::string HumanBytes(double bytes);

}  // namespace sluice::telemetry
