#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "service/engine.h"

namespace sluice::service {

// Counters of a server for Prometheus to fetch: http://<address>/metrics, on threads of its own. Part of builds that
// have prometheus-cpp. Errors: kInvalidArgument in others; kUnavailable where the port is taken.
class MetricsEndpoint {
 public:
  static Result<std::unique_ptr<MetricsEndpoint>> Start(const std::string& address, Engine* engine);
  virtual ~MetricsEndpoint() = default;
};

}  // namespace sluice::service
