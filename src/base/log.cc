#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace sluice {

void InitLogging(bool quiet) {
  auto logger = spdlog::stderr_color_mt("sluice");
  logger->set_pattern("%H:%M:%S %^%l%$ %v");
  logger->set_level(quiet ? spdlog::level::warn : spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void Log(LogLevel level, const std::string& text) {
  switch (level) {
    case LogLevel::kInfo:
      return spdlog::info(text);
    case LogLevel::kWarn:
      return spdlog::warn(text);
    case LogLevel::kError:
      return spdlog::error(text);
  }
}

}  // namespace sluice
