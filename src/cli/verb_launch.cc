#include <memory>

#include "base/log.h"
#include "base/thread_pool.h"
#include "cli/launcher.h"
#include "cli/program_path.h"
#include "cli/train_input.h"
#include "cli/verbs.h"
#include "comm/mpi.h"

namespace sluice::cli {
void AddLaunch(Application* application) {
  struct Arguments {
    TrainInput input;
    std::string ranks;
    LaunchPlan plan;
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("launch", "Train on several ranks that are processes, on this machine or others.");
  verb->Option("-n,--ranks", "N", &args->ranks, "Number of ranks; needed.");
  verb->Option("--hosts", "FILE", &args->plan.hosts, "Machines, one a line (\"node1 slots=4\"); else this one alone.");
  verb->Option(
      "--networks", "PREFIX", &args->plan.networks,
      "Network namespaces that are there already: rank R enters PREFIX<R> and talks over its interface data0, mpirun "
      "enters PREFIXhost. What compare --link makes.");
  verb->Flag("--bind", &args->plan.bind, "Bind every rank to a processor core of its own.");
  verb->Option("--mpirun", "PATH", &args->plan.mpirun, "Open MPI's mpirun; the one in PATH where left out.");
  AddTrainInput(verb, &args->input);
  verb->Footer([] {
    return std::string(
        "\nEverything after the options of launch itself is passed on to `sluice train`. The exit code is that of the "
        "rank "
        "that failed,\nor 4 where a rank was lost.\n\nExamples:\n"
        "  sluice launch -n 4 config.yaml --set train.batch_size=8192\n"
        "  sluice launch -n 8 --hosts hosts.txt config.yaml\n");
  });
  verb->Action([args] {
    InitLogging(args->input.quiet);
    if (args->ranks.empty()) return InvalidArgument("-n: how many ranks are to be started is missing");
    SLUICE_ASSIGN_OR_RETURN(args->plan.ranks, ParseRanks("-n", args->ranks));
    // Settings that do not hold are told once, before anything is started.
    SLUICE_RETURN_IF_ERROR(LoadConfig(args->input.config).status());
    if (!comm::HasMpi())
      return InvalidArgument(
          "this build has no MPI; configure with -DSLUICE_MPI=ON and build again, or train with threads as "
          "ranks: sluice train --ranks {}",
          args->plan.ranks);
    if (comm::LaunchedByMpi())
      return InvalidArgument(
          "this process is a rank of those that a launcher started already; start sluice train there");
    if (args->plan.bind && args->plan.hosts.empty() && NumUsableProcessors() < args->plan.ranks)
      return InvalidArgument("--bind: {} ranks need as many processors, and {} may be used", args->plan.ranks,
                             NumUsableProcessors());
    SLUICE_ASSIGN_OR_RETURN(const std::string program, ProgramPath());
    args->plan.command = {program};
    const auto arguments = TrainArguments(args->input);
    args->plan.command.insert(args->plan.command.end(), arguments.begin(), arguments.end());
    return Launch(args->plan);
  });
}

}  // namespace sluice::cli
