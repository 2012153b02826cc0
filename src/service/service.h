#pragma once

namespace sluice::service {

// Whether this build has the parameter service (CMake option SLUICE_SERVICE), and its metrics endpoint.
bool ServiceBuilt();
bool MetricsBuilt();

}  // namespace sluice::service
