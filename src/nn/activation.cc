#include "nn/activation.h"

#include "base/join.h"
#include "nn/activation_kernels.h"

namespace sluice::nn {

const std::vector<std::string>& ActivationNames() {
  static const std::vector<std::string> names = {"none", "relu", "leaky_relu", "sigmoid",
                                                 "tanh", "silu", "gelu",       "softplus"};
  return names;
}

Result<Activation> ParseActivation(const std::string& name) {
  const std::vector<std::string>& names = ActivationNames();
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == name) return static_cast<Activation>(i);
  return InvalidArgument("activation '{}' is none of {}", name, Join(names, ", "));
}

template <class A>
void ActivationForward(Activation kind, std::type_identity_t<Matrix<const A>> z, Matrix<A> y) {
  SLUICE_DISPATCH(ActivationForwardKernel<A>)(kind, z, y);
}

template <class R, class D, class G>
void ActivationBackward(Activation kind, std::type_identity_t<Matrix<const R>> reference, Matrix<const R> dy, G scale,
                        Matrix<D> dz, G* bias_grad) {
  SLUICE_DISPATCH(ActivationBackwardKernel<R, D, G>)(kind, reference, dy, scale, dz, bias_grad);
}

template <class A>
void Dropout(double rate, uint64_t key, int64_t first_sample, std::type_identity_t<Matrix<const A>> x, Matrix<A> y) {
  SLUICE_DISPATCH(DropoutKernel<A>)(rate, key, first_sample, x, y);
}

void ConvertToBf16(Matrix<const float> from, Matrix<Bf16> to) { SLUICE_DISPATCH(ConvertKernel<float, Bf16>)(from, to); }

void ConvertToFloat(Matrix<const Bf16> from, Matrix<float> to) {
  SLUICE_DISPATCH(ConvertKernel<Bf16, float>)(from, to);
}

#define SLUICE_INSTANTIATE(A)                                                                       \
  template void ActivationForward<A>(Activation, std::type_identity_t<Matrix<const A>>, Matrix<A>); \
  template void Dropout<A>(double, uint64_t, int64_t, std::type_identity_t<Matrix<const A>>, Matrix<A>);
SLUICE_INSTANTIATE(float)
SLUICE_INSTANTIATE(Bf16)
SLUICE_INSTANTIATE(double)
#undef SLUICE_INSTANTIATE
#define SLUICE_INSTANTIATE(R, D, G)                                                                                \
  template void ActivationBackward<R, D, G>(Activation, std::type_identity_t<Matrix<const R>>, Matrix<const R>, G, \
                                            Matrix<D>, G*);
SLUICE_INSTANTIATE(float, float, float)
SLUICE_INSTANTIATE(Bf16, Bf16, float)
SLUICE_INSTANTIATE(float, Bf16, float)
SLUICE_INSTANTIATE(double, double, double)
#undef SLUICE_INSTANTIATE

}  // namespace sluice::nn
