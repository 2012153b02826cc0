#include "cli/rank_process.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "cli/output.h"
#include "cli/train_input.h"

namespace sluice::cli {

void AddRanks(Verb* verb, const std::string& work, std::string* ranks) {
  verb->Option("--ranks", "N", ranks,
               work + " N ranks that are threads of this process and share `threads`; see the strategy section.");
}

Result<int> RanksOf(const std::string& text) {
  SLUICE_ASSIGN_OR_RETURN(const int ranks, ParseRanks("--ranks", text));
  if (ranks > 1 && comm::LaunchedByMpi())
    return InvalidArgument("--ranks {}: this process is a rank of those that a launcher started already", text);
  return ranks;
}

void LeaveRank(const Status& status) {
  static std::atomic<bool> left{false};
  if (left.exchange(true))
    for (;;) pause();
  std::fprintf(stderr, "sluice: %s\n", OneLine(status.message()).c_str());
  std::fflush(nullptr);
  comm::FinishMpi(true, status.ExitCode());
  std::_Exit(status.ExitCode());
}

void LeaveAfterLoss(int rank, const Status& why) { LeaveRank(why.WithContext(fmt::format("rank {}", rank))); }

}  // namespace sluice::cli
