#pragma once

#include <utility>
#include <vector>

namespace sluice::metric {

// Picks the least head of several sorted runs, one comparison per level. `less(a, b)` compares the heads of runs a and b
// and must be a strict order that puts exhausted runs last.
template <class Less>
class LoserTree {
 public:
  LoserTree(int num_runs, Less less) : num_runs_(num_runs), less_(std::move(less)), losers_(num_runs, -1) {
    for (int run = 0; run < num_runs; ++run) Replay(run);
  }

  int winner() const { return winner_; }
  // To be called when the head of the winner has changed.
  void Advance() { Replay(winner_); }

 private:
  // Plays `run` from its leaf to the root. While the tree fills, the first of two siblings waits in their parent.
  void Replay(int run) {
    int best = run;
    for (int node = (run + num_runs_) / 2; node > 0; node /= 2) {
      if (losers_[node] < 0) {
        losers_[node] = best;
        return;
      }
      if (less_(losers_[node], best)) std::swap(losers_[node], best);
    }
    winner_ = best;
  }

  int num_runs_;
  Less less_;
  std::vector<int> losers_;
  int winner_ = 0;
};

}  // namespace sluice::metric
