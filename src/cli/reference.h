#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "config/describe.h"

namespace sluice::cli {

// Every key of a run's configuration, the settings of each block type after model.blocks[] included.
std::vector<config::KeyInfo> RunKeys();

// Sections with the names of their keys, for the end of `sluice train --help`.
std::string SectionOverview();

// docs/reference/config.md.
std::string ConfigReference();

}  // namespace sluice::cli
