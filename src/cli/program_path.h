#pragma once

#include <string>

#include "base/status.h"

namespace sluice::cli {

// The absolute path of the program that runs. Errors: kIo where the system does not tell.
Result<std::string> ProgramPath();

}  // namespace sluice::cli
