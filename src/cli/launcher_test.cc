#include "cli/launcher.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "cli/service_launcher.h"

namespace sluice::cli {
namespace {

RankEnd Left(int rank, int code) { return {rank, code, 0}; }
RankEnd Killed(int rank, int signal) { return {rank, 0, signal}; }

TEST(JudgeEndsTest, AllGoodIsGood) { EXPECT_TRUE(JudgeEnds({Left(1, 0), Left(0, 0)}, 2).ok()); }

TEST(JudgeEndsTest, TheFirstFailureOfItsOwnDecides) {
  const Status status = JudgeEnds({Left(2, 4), Left(1, 3), Left(0, 2)}, 3);
  EXPECT_EQ(status.ExitCode(), 3);
  EXPECT_EQ(status.message(), "rank 0 left with code 2; rank 1 left with code 3; rank 2 left with code 4");
}

TEST(JudgeEndsTest, AKilledOrMissingRankIsALoss) {
  const Status killed = JudgeEnds({Killed(2, SIGKILL), Left(0, 4), Left(1, 4)}, 3);
  EXPECT_EQ(killed.ExitCode(), 4);
  EXPECT_EQ(killed.message(), "rank 2 killed by signal 9 (Killed); ranks 0, 1 left with code 4");
  EXPECT_EQ(JudgeEnds({Left(0, 0), Left(1, 0)}, 3).ExitCode(), 4);
  EXPECT_EQ(JudgeEnds({Left(0, 130), Left(1, 4)}, 2).ExitCode(), 4);
}

TEST(JudgeEndsTest, ACrashIsABug) { EXPECT_EQ(JudgeEnds({Left(0, 4), Killed(1, SIGSEGV)}, 2).ExitCode(), 70); }

TEST(JudgeEndsTest, AnInterruptOfAllIsAnInterrupt) {
  const Status status = JudgeEnds({Left(0, 130), Left(1, 130)}, 2);
  EXPECT_EQ(status.ExitCode(), 130);
  EXPECT_EQ(status.message(), "all 2 ranks left with code 130");
}

TEST(RankEndTest, ComesBackAsItWasGiven) {
  for (const RankEnd& end : {Left(0, 0), Left(63, 70), Killed(3, 9)}) {
    const auto parsed = ParseRankEnd(FormatRankEnd(end));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->rank, end.rank);
    EXPECT_EQ(parsed->exit_code, end.exit_code);
    EXPECT_EQ(parsed->signal, end.signal);
  }
  for (const char* line : {"", "sluice-rank 0 exit 0\n", "\x1esluice-rank x exit 0\n", "\x1esluice-rank 0 exit\n",
                           "\x1esluice-rank 0 wait 1\n", "\x1esluice-rank -1 exit 1\n", "\x1esluice-rank 1 signal 0\n"})
    EXPECT_FALSE(ParseRankEnd(line).has_value()) << line;
}

TEST(MpirunArgumentsTest, TheGuardRunsTheProgramAsEveryRank) {
  LaunchPlan plan;
  plan.ranks = 3;
  plan.command = {"/bin/sluice", "train", "config.yaml"};
  const auto arguments = MpirunArguments(plan, "/usr/bin/mpirun");
  EXPECT_EQ(arguments.front(), "/usr/bin/mpirun");
  const std::vector<std::string> tail(arguments.end() - 5, arguments.end());
  EXPECT_EQ(tail, (std::vector<std::string>{"/bin/sluice", "--rank-guard", "/bin/sluice", "train", "config.yaml"}));
  const auto has = [&](const char* word) {
    return std::find(arguments.begin(), arguments.end(), word) != arguments.end();
  };
  EXPECT_FALSE(has("--hostfile"));
  plan.hosts = "hosts.txt";
  const auto remote = MpirunArguments(plan, "/usr/bin/mpirun");
  EXPECT_NE(std::find(remote.begin(), remote.end(), "--hostfile"), remote.end());
  EXPECT_EQ(std::find(remote.begin(), remote.end(), "lo"), remote.end());
}

TEST(LaunchTest, AMissingMpirunIsNamed) {
  LaunchPlan plan;
  plan.mpirun = "/nowhere/mpirun";
  plan.command = {"/bin/true"};
  EXPECT_EQ(Launch(plan).code(), StatusCode::kNotFound);
}

// Servers are told to end when the workers have ended; how long those took is not taken off the servers' time, in which
// they write a checkpoint.
TEST(LaunchServiceTest, EveryProcessThatIsToldToEndHasTheWholePatience) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / fmt::format("launch-{}", getpid());
  fs::create_directories(folder);
  const std::string program = folder / "program";
  // Worker 0 fails once the others are there; each of these takes 1.2 of 2 seconds to end.
  ASSERT_TRUE(WriteFileAtomically(program, fmt::format(R"(#!/bin/sh
cd {}
case "$*" in
  *strategy.worker=0*) while [ ! -e server ] || [ ! -e worker ]; do sleep 0.02; done; exit 4 ;;
  serve-params*) name=server ;;
  *) name=worker ;;
esac
trap 'sleep 1.2; touch $name.done; exit 0' TERM
touch $name
while :; do sleep 0.02; done
)",
                                                       folder.string()))
                  .ok());
  fs::permissions(program, fs::perms::owner_all);
  ServiceLaunch launch;
  launch.workers = 2;
  launch.program = program;
  launch.input.run_dir = folder / "run";
  launch.patience = std::chrono::milliseconds(2000);
  const Status status = LaunchService(launch);
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "worker 0 left with code 4");
  EXPECT_TRUE(fs::exists(folder / "worker.done"));
  EXPECT_TRUE(fs::exists(folder / "server.done"));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace sluice::cli
