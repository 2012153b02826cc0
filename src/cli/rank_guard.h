#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::cli {

// `sluice --rank-guard PROGRAM ARGUMENT...` is what `sluice launch` starts as every rank: it runs the program and tells
// how it ended in one line on standard error, because mpirun keeps that to itself. A SIGUSR1, which mpirun hands on,
// reaches the program as SIGTERM.
inline constexpr std::string_view kGuardOption = "--rank-guard";

// Returns 0 whatever the program did, so that mpirun leaves the other ranks alone. `argv` starts with the program.
int GuardRank(char** argv);

// How a rank ended.
struct RankEnd {
  int rank = 0;
  int exit_code = 0;
  int signal = 0;  // not 0: killed by it
};
std::string FormatRankEnd(const RankEnd& end);  // one line, starts with kReportMark
// Nothing where the line is none of FormatRankEnd.
std::optional<RankEnd> ParseRankEnd(std::string_view line);
inline constexpr char kReportMark = '\x1e';

}  // namespace sluice::cli
