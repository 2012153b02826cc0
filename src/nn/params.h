#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::nn {

enum class Init { kZero, kOne, kXavierUniform, kHeUniform, kNormal };

// One named parameter (or buffer) in a flat span of the net.
struct ParamInfo {
  std::string name;            // "deep/layer0/weight"
  std::vector<int64_t> shape;  // weights are [inputs, outputs], row-major
  int64_t offset = 0;          // in elements; a multiple of kParamAlignment
  int64_t size = 0;
  Init init = Init::kZero;
  double scale = 1.0;  // standard deviation of kNormal
};

inline constexpr int64_t kParamAlignment = 16;

// Names, shapes and places of parameters in one contiguous buffer. Synchronisers, optimizers and checkpoints see the
// buffer as flat spans with these names and bounds, never layers. Padding between parameters stays zero.
class ParamLayout {
 public:
  // Returns the offset. REQUIRES: a name not added before.
  int64_t Add(const std::string& name, std::vector<int64_t> shape, Init init, double scale = 1.0);

  int64_t size() const { return size_; }
  const std::vector<ParamInfo>& params() const { return params_; }
  const ParamInfo* Find(const std::string& name) const;

  // Fills `values` [size()]: element i of a parameter is a function of (seed, parameter's name, i) alone. The same
  // numbers for every T, up to rounding.
  template <class T>
  void Initialise(uint64_t seed, T* values) const;

 private:
  std::vector<ParamInfo> params_;
  int64_t size_ = 0;
};

// What a block declares itself in while a net is built.
struct ParamRegistry {
  ParamLayout trained;
  ParamLayout buffers;  // running statistics
};

}  // namespace sluice::nn
