#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace sluice {

void InitLogging(bool quiet) {
  auto logger = spdlog::stderr_color_mt("sluice");
  logger->set_pattern("%H:%M:%S %^%l%$ %v");
  logger->set_level(quiet ? spdlog::level::warn : spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace sluice
