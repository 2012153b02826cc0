#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "checkpoint/manifest.h"

// Any text is refused as damaged or parsed into a manifest that is written and parsed again to the same text. The bytes
// are tried as they are, and as the body of a manifest whose checksum fits, so that the parser behind it is reached.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using sluice::checkpoint::ParseManifest;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto check = [](std::string_view manifest) {
    const auto parsed = ParseManifest(manifest, "fuzz");
    if (!parsed.ok()) {
      if (parsed.status().code() != sluice::StatusCode::kDataLoss) std::abort();
      return;
    }
    const std::string written = sluice::checkpoint::SerialiseManifest(parsed.value());
    const auto again = ParseManifest(written, "fuzz");
    if (!again.ok() || sluice::checkpoint::SerialiseManifest(again.value()) != written) std::abort();
  };
  check(text);
  const nlohmann::json body = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (body.is_discarded()) return 0;
  const std::string canonical = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  check("{\"checkpoint\":" + canonical + ",\"xxh3\":\"" + fmt::format("{:016x}", sluice::HashBytes(canonical)) + "\"}");
  return 0;
}
