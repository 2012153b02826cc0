#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "checkpoint/safetensors_reader.h"

// Any header is refused as damaged, or all its tensors lie within the file and are as long as their shapes say.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  constexpr int64_t kDataSize = 64;
  const auto header = sluice::checkpoint::ParseSafetensorsHeader(text, kDataSize, "fuzz");
  if (!header.ok()) {
    if (header.status().code() != sluice::StatusCode::kDataLoss) std::abort();
    return 0;
  }
  for (const auto& [name, tensor] : header.value().tensors) {
    if (tensor.begin < 0 || tensor.end > kDataSize || tensor.end - tensor.begin != tensor.info.size_bytes()) std::abort();
  }
  return 0;
}
