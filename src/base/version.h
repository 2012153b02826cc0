#pragma once

namespace sluice {

// Version of the program, as `sluice --version` prints it and checkpoints record it. CMakeLists.txt says the same.
inline constexpr const char* kVersion = "0.1.0";

}  // namespace sluice
