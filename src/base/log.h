#pragma once

#include <spdlog/spdlog.h>

namespace sluice {

// Logs go to standard error, so that standard output stays for results. `quiet` keeps warnings and errors only.
void InitLogging(bool quiet);

}  // namespace sluice

#define SLUICE_INFO(...) ::spdlog::info(__VA_ARGS__)
#define SLUICE_WARN(...) ::spdlog::warn(__VA_ARGS__)
#define SLUICE_ERROR(...) ::spdlog::error(__VA_ARGS__)
