#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "base/bf16.h"
#include "nn/block.h"

namespace sluice::nn {

// relu max(z, 0); leaky_relu slope 0.01 below 0; silu z * sigmoid(z); gelu in its tanh form (Hendrycks and Gimpel 2016,
// equation 2; JAX's default); softplus log(1 + exp(z)).
enum class Activation { kNone, kRelu, kLeakyRelu, kSigmoid, kTanh, kSilu, kGelu, kSoftplus };

const std::vector<std::string>& ActivationNames();  // none, relu, leaky_relu, ...
// Errors: kInvalidArgument naming what there is.
Result<Activation> ParseActivation(const std::string& name);

// The gradient of these is a function of z; of the others, of y.
inline bool NeedsPreActivation(Activation kind) { return kind == Activation::kSilu || kind == Activation::kGelu; }

// y = f(z), element-wise, A: float, Bf16 (computed in float) or double.
// Memory       y may be z. z and y [rows, cols] with any ld.
// Numerics     float: the same bits on every instruction set; exp within 2 units in the last place.
template <class A>
void ActivationForward(Activation kind, std::type_identity_t<Matrix<const A>> z, Matrix<A> y);

// dz = dy * scale * f', where `reference` is z where NeedsPreActivation, else y; and bias_grad [cols] += column sums of
// dz (in row order). One pass.
// Types        (R, D): (float, float), (Bf16, Bf16), (float, Bf16), (double, double); G is float, or double for double.
// Memory       dz may be dy (if of one type), or empty where only the sums are wanted; bias_grad may be null.
//              For kNone `reference` is not read.
template <class R, class D, class G>
void ActivationBackward(Activation kind, std::type_identity_t<Matrix<const R>> reference, Matrix<const R> dy, G scale,
                        Matrix<D> dz, G* bias_grad);

// y = x * mask / (1 - rate): unit j of the sample with index i in the order of training is dropped as a function of
// (key, i, j) alone. Applied to the gradient it is its own backward. y may be x.
template <class A>
void Dropout(double rate, uint64_t key, int64_t first_sample, std::type_identity_t<Matrix<const A>> x, Matrix<A> y);

// Rounds float to bf16 and back, matrix by matrix.
void ConvertToBf16(Matrix<const float> from, Matrix<Bf16> to);
void ConvertToFloat(Matrix<const Bf16> from, Matrix<float> to);

}  // namespace sluice::nn
