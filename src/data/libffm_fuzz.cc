// libffm and libsvm lines: the first byte chooses.

#include "data/fuzz_input.h"
#include "data/libsvm.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::data;
  const auto make = [](bool with_fields) {
    FittedFeatures fitted = fuzzing::AllKinds({"0", "1", "2", "3"});
    TextOptions options;
    options.files = {"fuzz"};
    options.skip_bad_lines = true;
    return LibsvmReader(MakePlan(DataConfig(), fitted, Purpose::kTrain).value(), options, with_fields, !with_fields);
  };
  static const LibsvmReader libffm = make(true);
  static const LibsvmReader libsvm = make(false);
  if (size == 0) return 0;
  fuzzing::ParseText(data[0] % 2 == 0 ? libffm : libsvm, data + 1, size - 1, 5, 5);
  return 0;
}
