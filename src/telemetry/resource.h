#pragma once

#include <cstdint>

namespace sluice::telemetry {

// What this process uses, as the system counts it. 0 where it does not say.
int64_t RssBytes();
int64_t PeakRssBytes();
double CpuSeconds();   // user and system, all threads
double WallSeconds();  // since an arbitrary fixed moment, never going back

}  // namespace sluice::telemetry
