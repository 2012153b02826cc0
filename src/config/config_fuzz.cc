// Reads arbitrary bytes as a configuration: it may be refused, never crash; what is accepted reads back the same.
#include <cstdint>
#include <cstdlib>

#include "base/check.h"
#include "config/reader.h"
#include "config/test_settings.h"
#include "config/writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::config;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // The first line may be an override.
  const size_t newline = text.find('\n');
  std::vector<std::string> overrides;
  if (newline != std::string_view::npos && newline > 0 && text[0] == '!')
    overrides.emplace_back(text.substr(1, newline - 1));
  TestSettings settings;
  const auto status = ReadText(overrides.empty() ? text : text.substr(newline + 1), "fuzz", overrides, &settings);
  if (!status.ok()) return 0;
  TestSettings again;
  const std::string yaml = ToYaml(settings);
  const auto reread = ReadText(yaml, "again", {}, &again);
  SLUICE_CHECK(reread.ok(), "{} in\n{}", reread.message(), yaml);
  SLUICE_CHECK(Equal(settings, again), "not the same:\n{}", yaml);
  return 0;
}
