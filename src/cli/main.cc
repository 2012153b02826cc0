#include "base/denormals.h"
#include "cli/application.h"
#include "cli/rank_guard.h"
#include "cli/verbs.h"

int main(int argc, char** argv) {
  if (argc > 2 && argv[1] == sluice::cli::kGuardOption) return sluice::cli::GuardRank(argv + 2);
  sluice::FlushDenormals();  // before any thread starts
  sluice::cli::Application application;
  sluice::cli::AddVerbs(&application);
  return application.Run(argc, argv);
}
