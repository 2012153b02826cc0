#pragma once

#include <optional>
#include <string>

#include "base/status.h"
#include "cli/application.h"
#include "comm/mpi.h"

// Verbs that run on several ranks: as threads of this process (--ranks), or each process as one rank where an MPI
// launcher started it (comm::LaunchedByMpi).
namespace sluice::cli {

// The option --ranks N; `work` says what the ranks do, such as "Train".
void AddRanks(Verb* verb, const std::string& work, std::string* ranks);
// Its value. Errors: kInvalidArgument where it is no number of ranks, or this process is a rank already.
Result<int> RanksOf(const std::string& text);

// Ends this process, which is one rank: leaving MPI in good order would wait for a peer that is lost. Of two threads
// that come here one speaks.
[[noreturn]] void LeaveRank(const Status& status);
// The same from the thread that watches the other ranks.
[[noreturn]] void LeaveAfterLoss(int rank, const Status& why);

// Ends this rank's part in MPI after `result`: a failure ends the process, and what there is to show is shown.
template <class R, class Show>
Status FinishRank(Result<std::optional<R>> result, const Show& show) {
  if (!result.ok()) LeaveRank(result.status());
  const Status shown = result->has_value() ? show(**result) : Status::Ok();
  comm::FinishMpi(false, 0);
  return shown;
}

}  // namespace sluice::cli
