#pragma once

#include <string>
#include <string_view>

namespace sluice {

// The texts of a range, one after another with `separator` between them. (fmt::join does it too, and has every file
// that uses it compile the formatter.)
template <class Texts>
std::string Join(const Texts& texts, std::string_view separator) {
  std::string joined;
  bool first = true;
  for (const auto& text : texts) {
    if (!first) joined += separator;
    first = false;
    joined += std::string_view(text);
  }
  return joined;
}

}  // namespace sluice
