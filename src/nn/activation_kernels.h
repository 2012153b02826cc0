#pragma once

#include "base/simd.h"
#include "nn/activation.h"

namespace sluice {

SLUICE_DECLARE_KERNELS(template <class A>
                       void ActivationForwardKernel(nn::Activation kind, nn::Matrix<const A> z, nn::Matrix<A> y);
                       template <class R, class D, class G>
                       void ActivationBackwardKernel(nn::Activation kind, nn::Matrix<const R> reference,
                                                     nn::Matrix<const R> dy, G scale, nn::Matrix<D> dz, G* bias_grad);
                       template <class A> void DropoutKernel(double rate, uint64_t key, int64_t first_sample,
                                                             nn::Matrix<const A> x, nn::Matrix<A> y);
                       template <class From, class To>
                       void ConvertKernel(nn::Matrix<const From> from, nn::Matrix<To> to);)

}  // namespace sluice
