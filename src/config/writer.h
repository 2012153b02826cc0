#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "config/schema.h"

namespace sluice::config {

namespace internal {
std::string WriteVisit(const std::function<void(Visitor&)>& visit);
}  // namespace internal

// Every setting of the struct as YAML that reads back to an equal struct: ranges expanded, environment variables
// replaced, numbers in the shortest form that keeps all bits.
template <class S>
std::string ToYaml(S settings) {
  return internal::WriteVisit([&settings](Visitor& v) { settings.Visit(v); });
}

// Whether all settings are equal.
template <class S>
bool Equal(const S& a, const S& b) {
  return ToYaml(a) == ToYaml(b);
}

// A text as a YAML scalar, in quotes where a plain one would be read as something else.
std::string YamlText(std::string_view text);

}  // namespace sluice::config
