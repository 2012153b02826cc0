#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/status.h"
#include "cli/rank_guard.h"

namespace sluice::cli {

// Processes of one program that mpirun starts as ranks.
struct LaunchPlan {
  int ranks = 1;
  std::string mpirun;                // path; empty: searched for in PATH
  std::string hosts;                 // mpirun's host file; empty: this machine, or what a batch system allotted
  std::string networks;              // not empty: rank r enters this network namespace + r (cli/network.h)
  bool bind = false;                 // each rank to processors of its own
  std::vector<std::string> command;  // program with its absolute path, then its arguments
  // How long the other ranks may take to leave after the first one failed: it told them, or they saw what it saw.
  std::chrono::milliseconds patience{10000};
};

// The command line for mpirun. Ranks talk over loopback and shared memory where all are on this machine.
std::vector<std::string> MpirunArguments(const LaunchPlan& plan, const std::string& mpirun);

// Starts the ranks, passes their words on (the same failure once), and waits for their end. Ctrl-C and SIGTERM let them
// write a checkpoint; a second one ends them.
// Errors       as the ranks': the code of the first that failed on its own; kUnavailable where one was killed, lost or
//              left behind; kCancelled after an interrupt; kNotFound where mpirun is missing. The message says which
//              rank ended how.
Status Launch(const LaunchPlan& plan);

// The status that a process of ours left with this exit code (docs/reference/exit-codes.md).
StatusCode CodeOfExit(int exit_code);

// What the ends of all ranks come to, in the order in which they were heard of; ranks without a word are lost.
Status JudgeEnds(const std::vector<RankEnd>& ends, int ranks);

}  // namespace sluice::cli
