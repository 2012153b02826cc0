#include "service/service.h"

namespace sluice::service {

bool ServiceBuilt() {
#if SLUICE_HAS_SERVICE
  return true;
#else
  return false;
#endif
}

bool MetricsBuilt() {
#if SLUICE_HAS_PROMETHEUS
  return true;
#else
  return false;
#endif
}

}  // namespace sluice::service
