#include "base/version.h"

namespace sluice {

const char* const kVersion = "0.1.0";

}  // namespace sluice
