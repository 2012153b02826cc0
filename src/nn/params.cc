#include "nn/params.h"

#include <cmath>

#include "base/check.h"
#include "base/hash.h"
#include "base/rng.h"

namespace sluice::nn {
namespace {

// Fan-in and fan-out of a weight [inputs, ..., outputs]; leading dimensions are inputs.
double FanIn(const ParamInfo& param) {
  double fan = 1;
  for (size_t i = 0; i + 1 < param.shape.size(); ++i) fan *= static_cast<double>(param.shape[i]);
  return fan;
}
double FanOut(const ParamInfo& param) { return param.shape.empty() ? 1 : static_cast<double>(param.shape.back()); }

}  // namespace

int64_t ParamLayout::Add(const std::string& name, std::vector<int64_t> shape, Init init, double scale) {
  SLUICE_CHECK(Find(name) == nullptr, "parameter {} is added twice", name);
  ParamInfo param;
  param.name = name;
  param.shape = std::move(shape);
  param.offset = size_;
  param.size = 1;
  for (const int64_t extent : param.shape) param.size *= extent;
  param.init = init;
  param.scale = scale;
  size_ += (param.size + kParamAlignment - 1) / kParamAlignment * kParamAlignment;
  params_.push_back(std::move(param));
  return params_.back().offset;
}

const ParamInfo* ParamLayout::Find(const std::string& name) const {
  for (const ParamInfo& param : params_)
    if (param.name == name) return &param;
  return nullptr;
}

template <class T>
void ParamLayout::Initialise(uint64_t seed, T* values) const {
  for (int64_t i = 0; i < size_; ++i) values[i] = T(0);
  for (const ParamInfo& param : params_) {
    const CounterRng rng(seed, HashBytes(param.name));
    const auto uniform = [&](int64_t i, double bound) {
      return static_cast<T>(bound * (2 * rng.Uniform(static_cast<uint64_t>(i)) - 1));
    };
    const double xavier = std::sqrt(6.0 / (FanIn(param) + FanOut(param)));
    const double he = std::sqrt(6.0 / FanIn(param));
    T* out = values + param.offset;
    for (int64_t i = 0; i < param.size; ++i) {
      switch (param.init) {
        case Init::kZero:
          break;
        case Init::kOne:
          out[i] = T(1);
          break;
        case Init::kXavierUniform:
          out[i] = uniform(i, xavier);
          break;
        case Init::kHeUniform:
          out[i] = uniform(i, he);
          break;
        case Init::kNormal:
          out[i] = static_cast<T>(param.scale * rng.Normal(static_cast<uint64_t>(i)));
          break;
      }
    }
  }
}

template void ParamLayout::Initialise<float>(uint64_t, float*) const;
template void ParamLayout::Initialise<double>(uint64_t, double*) const;

}  // namespace sluice::nn
