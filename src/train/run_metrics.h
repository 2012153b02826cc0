#pragma once

#include "telemetry/metrics_file.h"
#include "train/api.h"

namespace sluice::train {

// What a report says that every kind of run has, for metrics.json.
telemetry::RunMetrics MetricsOf(const TrainReport& report);

}  // namespace sluice::train
