// Lines of Criteo's layout.

#include "data/delimited.h"
#include "data/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::data;
  static const DelimitedReader reader = [] {
    FittedFeatures fitted = fuzzing::AllKinds({"I1", "I2", "C1", "C2"});
    TextOptions options;
    options.files = {"fuzz"};
    options.skip_bad_lines = true;
    return DelimitedReader(MakePlan(DataConfig(), fitted, Purpose::kTrain).value(), options);
  }();
  fuzzing::ParseText(reader, data, size, 5, 5);
  return 0;
}
