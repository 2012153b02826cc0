#include "base/log.h"
#include "cli/config_input.h"
#include "cli/output.h"
#include "cli/train_input.h"
#include "cli/verbs.h"
#include "train/api.h"

namespace sluice::cli {

void AddPlan(Application* application) {
  struct Arguments {
    ConfigInput config;
    train::PlanRequest request;
    std::string ranks = "2";
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb =
      application->Add("plan", "Show which placement each field would get on several ranks, at what cost, and why.");
  AddConfigInput(verb, &args->config);
  verb->Option("--ranks", "N", &args->ranks, "Ranks to plan for, 2 to 64 [default 2].");
  verb->Option("--link", "RATE", &args->request.link,
               "Bandwidth of a rank's link: 10Gbit, 1.2GB/s; the least time decides then, else the fewest bytes.");
  verb->Option("--latency", "TIME", &args->request.latency, "Time of a short message: 50us.");
  verb->Option("--memory", "BYTES", &args->request.memory, "Memory of a rank: 8GiB; what does not fit is divided.");
  verb->Option("--sample", "N|FILE", &args->request.sample,
               "Samples to take statistics of, or a file of them in place of data.train.");
  verb->Option("--json", "FILE", &args->request.json, "Also write the plan as JSON.");
  verb->Footer([] {
    return "\nExample:\n"
           "  sluice plan config.yaml --ranks 8 --link 10Gbit --memory 8GiB\n";
  });
  verb->Action([args] {
    InitLogging(true);
    SLUICE_ASSIGN_OR_RETURN(const train::RunConfig config, LoadConfig(args->config));
    SLUICE_ASSIGN_OR_RETURN(args->request.ranks, ParseRanks("--ranks", args->ranks));
    if (args->request.ranks < 2) return InvalidArgument("--ranks {}: one process has nothing to place", args->ranks);
    SLUICE_ASSIGN_OR_RETURN(const std::string text, train::PlanRun(config, args->request));
    return PrintLine(text);
  });
}

}  // namespace sluice::cli
