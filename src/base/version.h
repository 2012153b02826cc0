#pragma once

namespace sluice {

// Version of the program, as `sluice --version` prints it, checkpoints record it and ranks compare it. CMakeLists.txt
// says the same.
extern const char* const kVersion;

}  // namespace sluice
