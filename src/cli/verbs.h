#pragma once

#include "cli/application.h"

namespace sluice::cli {

// Each adds one verb, in a file of its own: verb_train.cc and so on.
void AddTrain(Application* application);
void AddLaunch(Application* application);
void AddServeParams(Application* application);
void AddEval(Application* application);
void AddPredict(Application* application);
void AddExport(Application* application);
void AddInspect(Application* application);
void AddInit(Application* application);
void AddPlan(Application* application);
void AddPack(Application* application);
void AddSynth(Application* application);
void AddBench(Application* application);
void AddCompare(Application* application);
void AddReference(Application* application);

// All of them, in the order of --help.
void AddVerbs(Application* application);

}  // namespace sluice::cli
