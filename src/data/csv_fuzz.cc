// csv: quotes, blanks, missing values.

#include "data/delimited.h"
#include "data/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::data;
  static const DelimitedReader reader = [] {
    FittedFeatures fitted = fuzzing::AllKinds({"a", "b", "c", "d"});
    DataConfig config;
    config.passthrough = {"c", "d"};
    TextOptions options;
    options.files = {"fuzz"};
    options.skip_bad_lines = true;
    options.separator = ',';
    options.quotes = true;
    return DelimitedReader(MakePlan(config, fitted, Purpose::kPredict).value(), options);
  }();
  fuzzing::ParseText(reader, data, size, 5, 5);
  std::vector<std::string> values;
  SplitCsvRecord({reinterpret_cast<const char*>(data), size}, ',', &values);
  return 0;
}
