#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "nn/registry.h"

namespace sluice::nn {

// A setting of a block by its name in the configuration.
using OptionValue = std::variant<bool, int64_t, double, std::string, std::vector<std::string>, std::vector<int64_t>>;
using OptionList = std::vector<std::pair<std::string, OptionValue>>;

// A block of a registered type with these settings, the others at their defaults, for graphs made in code.
// REQUIRES: the type exists and has every setting named.
BlockConfig MakeBlock(const std::string& name, const std::string& type, std::vector<std::string> inputs,
                      const OptionList& options = {});

}  // namespace sluice::nn
