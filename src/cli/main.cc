#include "base/denormals.h"
#include "cli/application.h"
#include "cli/verbs.h"

int main(int argc, char** argv) {
  sluice::FlushDenormals();   // before any thread starts
  sluice::cli::Application application;
  sluice::cli::AddVerbs(&application);
  return application.Run(argc, argv);
}
