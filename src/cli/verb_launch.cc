#include <ctime>
#include <memory>

#include <fmt/chrono.h>

#include "base/log.h"
#include "base/thread_pool.h"
#include "cli/launcher.h"
#include "cli/program_path.h"
#include "cli/score_input.h"
#include "cli/service_launcher.h"
#include "cli/train_input.h"
#include "cli/verbs.h"
#include "comm/mpi.h"
#include "placement/strategy.h"
#include "service/service.h"

namespace sluice::cli {
namespace {

// RUN for a run that is given no folder.
std::string FolderByTime(const train::RunConfig& config) {
  const std::string name = config.name.empty() ? config.model.preset : config.name;
  return fmt::format("runs/{:%Y%m%d-%H%M%S}-{}", fmt::localtime(std::time(nullptr)), name);
}

Status LaunchWithServers(const TrainInput& input, const std::string& ranks, const std::string& servers,
                         const std::string& workers, const std::string& restarts, const std::string& networks) {
  if (!ranks.empty())
    return InvalidArgument("-n is for ranks, --servers and --workers for parameter servers; not both");
  ServiceLaunch launch;
  launch.input = input;
  launch.networks = networks;
  if (workers.empty()) return InvalidArgument("--workers: how many workers are to be started is missing");
  SLUICE_ASSIGN_OR_RETURN(launch.workers, ParseRanks("--workers", workers));
  if (!servers.empty()) {
    SLUICE_ASSIGN_OR_RETURN(launch.servers, ParseRanks("--servers", servers));
  }
  if (restarts != "0") {
    SLUICE_ASSIGN_OR_RETURN(launch.restarts, ParseRanks("--restarts", restarts));
  }
  train::RunConfig config;
  SLUICE_ASSIGN_OR_RETURN(config, LoadConfig(input.config));
  if (!placement::UsesServers(config.strategy))
    return InvalidArgument(
        "strategy.preset: {} does not train through parameter servers; use ps-async, ps-ssp or ps-sync",
        config.strategy.preset);
  if (!service::ServiceBuilt())
    return InvalidArgument("this build has no parameter service; install gRPC and configure with -DSLUICE_SERVICE=ON");
  launch.threads = static_cast<int>(config.threads);
  if (launch.input.run_dir.empty()) launch.input.run_dir = FolderByTime(config);
  SLUICE_ASSIGN_OR_RETURN(launch.program, ProgramPath());
  return LaunchService(launch);
}

// Starts `arguments`, a verb and what it is told, as ranks.
Status LaunchRanks(const std::string& ranks, LaunchPlan plan, const std::vector<std::string>& arguments) {
  if (ranks.empty()) return InvalidArgument("-n: how many ranks are to be started is missing");
  SLUICE_ASSIGN_OR_RETURN(plan.ranks, ParseRanks("-n", ranks));
  const std::string& verb = arguments.front();
  if (!comm::HasMpi())
    return InvalidArgument(
        "this build has no MPI; configure with -DSLUICE_MPI=ON and build again, or take threads as ranks: sluice {} "
        "--ranks {}",
        verb, plan.ranks);
  if (comm::LaunchedByMpi())
    return InvalidArgument("this process is a rank of those that a launcher started already; start sluice {} there",
                           verb);
  if (plan.bind && plan.hosts.empty() && NumUsableProcessors() < plan.ranks)
    return InvalidArgument("--bind: {} ranks need as many processors, and {} may be used", plan.ranks,
                           NumUsableProcessors());
  SLUICE_ASSIGN_OR_RETURN(const std::string program, ProgramPath());
  plan.command = {program};
  plan.command.insert(plan.command.end(), arguments.begin(), arguments.end());
  return Launch(plan);
}

struct Arguments {
  TrainInput input;
  std::string ranks, servers, workers, restarts = "0";
  LaunchPlan plan;
  train::EvaluateOptions eval;
  PredictInput predict;
};

// `launch ... eval` and `launch ... predict`: what goes before them is for ranks that train.
Status LaunchScoring(const Arguments& args, const std::vector<std::string>& arguments) {
  InitLogging(true);
  if (!args.servers.empty() || !args.workers.empty())
    return InvalidArgument("--servers and --workers train; ranks (-n) {}", arguments.front());
  const ConfigInput& config = args.input.config;
  if (!config.inputs.empty() || !config.set.empty() || !config.model.empty() || !config.eval.empty() ||
      !config.label.empty() || !args.input.run_dir.empty())
    return InvalidArgument(
        "launch: what is to be trained stands before the verb {}, which is told behind it what to do",
        arguments.front());
  return LaunchRanks(args.ranks, args.plan, arguments);
}

}  // namespace

void AddLaunch(Application* application) {
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("launch",
                                "Train, evaluate or predict with several processes: ranks on this machine or others, "
                                "or parameter servers and workers on this one.");
  verb->Option("-n,--ranks", "N", &args->ranks, "Number of ranks; this or --workers is needed.");
  verb->Option("--servers", "S", &args->servers, "Parameter servers of presets ps-*; 1 where left out.");
  verb->Option("--workers", "W", &args->workers, "Workers of presets ps-*, on loopback ports that are free.");
  verb->Option("--restarts", "N", &args->restarts,
               "Servers and workers that were killed are started again, so many times in all.");
  verb->Option("--hosts", "FILE", &args->plan.hosts, "Machines, one a line (\"node1 slots=4\"); else this one alone.");
  verb->Option("--networks", "PREFIX", &args->plan.networks,
               "Network namespaces that are there already: rank R, or server R and worker R, enters PREFIX<R> and "
               "talks over its "
               "interface data0, mpirun enters PREFIXhost. What compare --link makes.");
  verb->Flag("--bind", &args->plan.bind, "Bind every rank to a processor core of its own.");
  verb->Option("--mpirun", "PATH", &args->plan.mpirun, "Open MPI's mpirun; the one in PATH where left out.");
  AddTrainInput(verb, &args->input, false);
  Verb* eval = verb->Add("eval", "Evaluate a model by ranks, which share its rows: sluice eval.");
  AddEvalInput(eval, &args->eval);
  eval->Action([args] { return LaunchScoring(*args, EvalArguments(args->eval)); });
  Verb* predict = verb->Add("predict", "Predict by ranks, which share the model's rows: sluice predict.");
  AddPredictInput(predict, &args->predict);
  predict->Action([args] { return LaunchScoring(*args, PredictArguments(args->predict)); });
  verb->Footer([] {
    return std::string(
        "\nEverything after the options of launch itself is passed on to `sluice train`, or to the verb that is named. "
        "The exit\ncode is that of the rank that failed, or 4 where a rank was lost.\n\nExamples:\n"
        "  sluice launch -n 4 config.yaml --set train.batch_size=8192\n"
        "  sluice launch -n 4 eval runs/a test.tsv\n"
        "  sluice launch -n 4 predict runs/a today.tsv -o scores.tsv\n"
        "  sluice launch config.yaml --servers 2 --workers 4 --set strategy.preset=ps-async\n"
        "  sluice launch -n 8 --hosts hosts.txt config.yaml\n");
  });
  verb->Action([args] {
    InitLogging(args->input.quiet);
    if (args->input.config.inputs.empty())
      return InvalidArgument("launch needs a configuration (.yaml), data files, or a verb: eval, predict");
    if (!args->servers.empty() || !args->workers.empty())
      return LaunchWithServers(args->input, args->ranks, args->servers, args->workers, args->restarts,
                               args->plan.networks);
    // Settings that do not hold are told once, before anything is started.
    if (!args->ranks.empty()) SLUICE_RETURN_IF_ERROR(LoadConfig(args->input.config).status());
    return LaunchRanks(args->ranks, args->plan, TrainArguments(args->input));
  });
}

}  // namespace sluice::cli
