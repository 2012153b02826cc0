#include "cli/verbs.h"

namespace sluice::cli {

void AddVerbs(Application* application) {
  AddTrain(application);
  AddLaunch(application);
  AddServeParams(application);
  AddEval(application);
  AddPredict(application);
  AddExport(application);
  AddInspect(application);
  AddInit(application);
  AddPlan(application);
  AddPack(application);
  AddSynth(application);
  AddBench(application);
  AddCompare(application);
  AddReference(application);
}

}  // namespace sluice::cli
