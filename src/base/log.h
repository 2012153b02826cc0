#pragma once

#include <string>

#include <fmt/format.h>

namespace sluice {

// Logs go to standard error, so that standard output stays for results. `quiet` keeps warnings and errors only.
void InitLogging(bool quiet);

enum class LogLevel { kInfo, kWarn, kError };
void Log(LogLevel level, const std::string& text);

}  // namespace sluice

#define SLUICE_INFO(...) ::sluice::Log(::sluice::LogLevel::kInfo, ::fmt::format(__VA_ARGS__))
#define SLUICE_WARN(...) ::sluice::Log(::sluice::LogLevel::kWarn, ::fmt::format(__VA_ARGS__))
#define SLUICE_ERROR(...) ::sluice::Log(::sluice::LogLevel::kError, ::fmt::format(__VA_ARGS__))
