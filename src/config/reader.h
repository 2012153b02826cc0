#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "config/schema.h"

namespace sluice::config {

// Reads YAML into a settings struct (one with a Visit, see schema.h), then applies overrides "a.b.c=value", which are
// checked like the file's own values.
// Semantics    keys left out keep the value that `settings` had. A single value stands for a list of one, and in a map
//              of names for settings that have one key only. In text and numbers ${NAME} and ${NAME:-default} are
//              replaced by environment variables.
// Errors       kInvalidArgument, with `settings` unchanged: "config.yaml:12:5: train.batch_sise: unknown key; did you
//              mean \"batch_size\"?", likewise for mistyped, out-of-range, missing and duplicate keys, and for text
//              that is not YAML. Of several problems the first in the text is told, with how many more there are.
template <class S>
Status ReadFile(const std::string& path, const std::vector<std::string>& overrides, S* settings);

// The same from text; `origin` stands for the file's name in messages.
template <class S>
Status ReadText(std::string_view text, const std::string& origin, const std::vector<std::string>& overrides,
                S* settings);

// The same without any YAML: defaults and overrides alone.
template <class S>
Status ReadOverrides(const std::vector<std::string>& overrides, S* settings);

// One setting given by an option of the command line; messages name the option: "--samples 0: samples: must be >= 1".
template <class S>
Status ReadOption(const std::string& option, const std::string& key, const std::string& value, S* settings);

// ---- implementation ----
namespace internal {
using VisitRoot = std::function<void(Visitor&)>;
Status ReadFileInto(const std::string& path, const std::vector<std::string>& overrides, const VisitRoot& visit);
Status ReadTextInto(std::string_view text, const std::string& origin, const std::vector<std::string>& overrides,
                    const VisitRoot& visit);
Status ReadOverridesInto(const std::vector<std::string>& overrides, const VisitRoot& visit);
Status ReadOptionInto(const std::string& option, const std::string& key, const std::string& value,
                      const VisitRoot& visit);

// `read` fills a copy, which becomes the settings on success only.
template <class S, class Read>
Status ReadCopy(S* settings, const Read& read) {
  S copy = *settings;
  SLUICE_RETURN_IF_ERROR(read([&copy](Visitor& v) { copy.Visit(v); }));
  *settings = std::move(copy);
  return Status::Ok();
}
}  // namespace internal

template <class S>
Status ReadFile(const std::string& path, const std::vector<std::string>& overrides, S* settings) {
  return internal::ReadCopy(
      settings, [&](const internal::VisitRoot& visit) { return internal::ReadFileInto(path, overrides, visit); });
}

template <class S>
Status ReadText(std::string_view text, const std::string& origin, const std::vector<std::string>& overrides,
                S* settings) {
  return internal::ReadCopy(settings, [&](const internal::VisitRoot& visit) {
    return internal::ReadTextInto(text, origin, overrides, visit);
  });
}

template <class S>
Status ReadOverrides(const std::vector<std::string>& overrides, S* settings) {
  return internal::ReadCopy(
      settings, [&](const internal::VisitRoot& visit) { return internal::ReadOverridesInto(overrides, visit); });
}

template <class S>
Status ReadOption(const std::string& option, const std::string& key, const std::string& value, S* settings) {
  return internal::ReadCopy(
      settings, [&](const internal::VisitRoot& visit) { return internal::ReadOptionInto(option, key, value, visit); });
}

}  // namespace sluice::config
