#pragma once

#include <string>

#include <fmt/format.h>

namespace sluice {

// Prints "file:line: check failed: ..." with the message and aborts with exit code 70. For bugs only, never for input.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, const std::string& message);

}  // namespace sluice

// Stays in release builds. SLUICE_CHECK(condition, "format {}", values...).
#define SLUICE_CHECK(condition, ...)                                                                \
  do {                                                                                              \
    if (!(condition)) [[unlikely]]                                                                  \
      ::sluice::CheckFailed(__FILE__, __LINE__, #condition, fmt::format(__VA_ARGS__));              \
  } while (false)
