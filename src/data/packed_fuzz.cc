// Packed files: the whole file, and one block whose checksum holds, so that decoding is reached.

#include <span>

#include "data/fuzz_input.h"
#include "data/packed.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  using namespace sluice::data;
  const auto bytes = std::as_bytes(std::span(data, size));
  Batch batch;
  const auto whole = PackedFile::Parse(bytes, "fuzz");
  for (size_t b = 0; whole.ok() && b < whole.value().blocks.size(); ++b)
    (void)whole.value().Decode(static_cast<int64_t>(b), "fuzz", &batch);

  static const FittedFeatures features = fuzzing::AllKinds({"a", "b", "c", "d"});
  if (size == 0) return 0;
  PackedFile block;
  block.features = features;
  block.schema = features.MakeSchema();
  block.bytes = bytes.subspan(1);
  block.blocks = {{0, size - 1, data[0], HashBytes({reinterpret_cast<const char*>(data) + 1, size - 1})}};
  if (block.Decode(0, "fuzz", &batch).ok()) {
    Batch copy;
    AppendRows(batch, 0, batch.size, &copy);
    if (copy.size != batch.size) std::abort();
  }
  return 0;
}
