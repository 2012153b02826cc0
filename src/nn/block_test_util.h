#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/aligned_buffer.h"
#include "base/rng.h"
#include "nn/block_builder.h"
#include "nn/matrix_ops.h"

namespace sluice::nn::testing {

// Numbers in [-1, 1), away from 0 by at least 0.05 so that kinks of piecewise functions are not met by accident.
inline double Value(uint64_t seed, int64_t i) {
  const double u = CounterRng(seed, 7).Uniform(static_cast<uint64_t>(i)) * 2 - 1;
  return u >= 0 ? 0.05 + 0.95 * u : -0.05 + 0.95 * u;
}

// A dense block alone, on a batch cut into pieces as an executor would.
template <class T>
class BlockHarness {
 public:
  BlockHarness(const std::string& type, std::vector<int64_t> widths, const OptionList& options, int64_t rows,
               int num_labels = 1, Precision precision = Precision::kFp32)
      : widths_(std::move(widths)), rows_(rows) {
    for (int l = 0; l < num_labels; ++l) schema_.labels.push_back("label" + std::to_string(l));
    BuildContext context;
    context.schema = &schema_;
    context.name = "block";
    context.input_widths = widths_;
    context.params = &registry_;
    context.precision = precision;
    const BlockConfig config = MakeBlock("block", type, {}, options);
    if constexpr (std::is_same_v<T, double>) {
      auto made = FindBlockType(type)->make_f64(*config.options, context);
      EXPECT_TRUE(made.ok()) << made.status().message();
      block_ = std::move(made).value();
    } else {
      auto made = FindBlockType(type)->make_f32(*config.options, context);
      EXPECT_TRUE(made.ok()) << made.status().message();
      block_ = std::move(made).value();
    }
    params.resize(registry_.trained.size());
    for (const ParamInfo& p : registry_.trained.params())
      for (int64_t i = 0; i < p.size; ++i) params[p.offset + i] = static_cast<T>(0.5 * Value(11, p.offset + i));
    buffers.resize(registry_.buffers.size());
    registry_.buffers.template Initialise<T>(1, buffers.data());
    for (size_t p = 0; p < widths_.size(); ++p) {
      inputs.emplace_back(rows_ * widths_[p]);
      for (int64_t i = 0; i < rows_ * widths_[p]; ++i) inputs[p][i] = static_cast<T>(Value(100 + p, i));
    }
    step.batch_size = rows_;
    step.training = true;
    step.seed = 5;
  }

  const Block<T>& block() const { return *block_; }
  const ParamLayout& layout() const { return registry_.trained; }
  int64_t width() const { return block_->output_width(); }
  int64_t rows() const { return rows_; }

  // out [rows, width].
  std::vector<T> Forward(int pieces = 1) {
    out.assign(rows_ * width(), T(0));
    shared_.Resize(static_cast<int64_t>(block_->shared_size()) + 1);
    for (int task = 0; task < block_->num_prepare_tasks(); ++task)
      block_->Prepare(task, params.data(), step.training, shared_.data());
    MakePieces(pieces);
    forward_totals_.assign(block_->num_batch_sums(), 0.0);
    if (step.training)
      for (BlockIo<T>& io : ios_) block_->ForwardSums(io, forward_totals_.data());
    for (BlockIo<T>& io : ios_) {
      io.forward_totals = step.training ? forward_totals_.data() : nullptr;
      block_->Forward(io);
    }
    return out;
  }

  // After Forward: gradients of sum(out * out_grad) by inputs and parameters.
  void Backward(const std::vector<T>& out_grad, bool accumulate = false, T start = T(0)) {
    param_grads.assign(params.size(), T(0));
    in_grads.clear();
    for (const int64_t width : widths_) in_grads.emplace_back(rows_ * width, start);
    std::vector<double> totals(block_->num_batch_sums(), 0.0);
    for (BlockIo<T>& io : ios_) {
      io.out_grad = {out_grad.data() + io.samples.begin * width(), io.samples.size(), width(), width()};
      io.param_grads = param_grads.data();
      io.in_grad.clear();
      for (size_t p = 0; p < widths_.size(); ++p)
        io.in_grad.push_back(
            {in_grads[p].data() + io.samples.begin * widths_[p], io.samples.size(), widths_[p], widths_[p]});
      io.accumulate.assign(widths_.size(), accumulate);
      block_->BackwardSums(io, totals.data());
    }
    for (BlockIo<T>& io : ios_) {
      io.backward_totals = totals.data();
      block_->Backward(io);
    }
  }

  void UpdateBuffers() { block_->UpdateBuffers(forward_totals_.data(), rows_, buffers.data()); }

  std::vector<T> params, buffers, param_grads, out;
  std::vector<std::vector<T>> inputs, in_grads;
  StepInfo step;

 private:
  void MakePieces(int pieces) {
    ios_.clear();
    states_.clear();
    for (int p = 0; p < pieces; ++p) {
      const Range range = PartRange(rows_, p, pieces);
      BlockIo<T> io;
      for (size_t i = 0; i < widths_.size(); ++i)
        io.in.push_back({inputs[i].data() + range.begin * widths_[i], range.size(), widths_[i], widths_[i]});
      io.out = {out.data() + range.begin * width(), range.size(), width(), width()};
      io.params = params.data();
      io.buffers = buffers.data();
      states_.emplace_back(static_cast<int64_t>(block_->state_size(range.size())) + 1);
      io.state = states_.back().data();
      io.shared = shared_.data();
      io.samples = range;
      io.step = &step;
      ios_.push_back(std::move(io));
    }
  }

  data::Schema schema_;
  ParamRegistry registry_;
  std::unique_ptr<Block<T>> block_;
  std::vector<int64_t> widths_;
  int64_t rows_;
  std::vector<BlockIo<T>> ios_;
  std::vector<AlignedBuffer<std::byte>> states_;
  AlignedBuffer<std::byte> shared_;
  std::vector<double> forward_totals_;
};

inline double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// Gradients by every input and parameter against central differences of sum(out * g); g is fixed.
inline void CheckGradients(BlockHarness<double>& h, double tolerance = 1e-7) {
  std::vector<double> g(h.rows() * h.width());
  for (size_t i = 0; i < g.size(); ++i) g[i] = Value(55, static_cast<int64_t>(i));
  h.Forward(2);
  h.Backward(g);
  const auto in_grads = h.in_grads;
  const auto param_grads = h.param_grads;
  const double eps = 1e-5;
  const auto difference = [&](double& x) {
    const double kept = x;
    x = kept + eps;
    const double up = Dot(h.Forward(), g);
    x = kept - eps;
    const double down = Dot(h.Forward(), g);
    x = kept;
    return (up - down) / (2 * eps);
  };
  for (size_t p = 0; p < h.inputs.size(); ++p)
    for (size_t i = 0; i < h.inputs[p].size(); ++i)
      ASSERT_NEAR(in_grads[p][i], difference(h.inputs[p][i]), tolerance) << "input " << p << " element " << i;
  for (const ParamInfo& param : h.layout().params())
    for (int64_t i = param.offset; i < param.offset + param.size; ++i)
      ASSERT_NEAR(param_grads[i], difference(h.params[i]), tolerance) << param.name << " element " << i - param.offset;

  // Accumulating adds to what is there.
  h.Forward(3);
  h.Backward(g, true, 0.25);
  for (size_t p = 0; p < in_grads.size(); ++p)
    for (size_t i = 0; i < in_grads[p].size(); ++i) ASSERT_NEAR(h.in_grads[p][i], in_grads[p][i] + 0.25, 1e-12);
}

// The float path against the double path on the same numbers, relative to the largest element.
inline void CheckFloatAgainstDouble(const std::string& type, const std::vector<int64_t>& widths,
                                    const OptionList& options, int64_t rows, double tolerance,
                                    Precision precision = Precision::kFp32) {
  BlockHarness<double> d(type, widths, options, rows);
  BlockHarness<float> f(type, widths, options, rows, 1, precision);
  std::vector<double> gd(rows * d.width());
  for (size_t i = 0; i < gd.size(); ++i) gd[i] = Value(66, static_cast<int64_t>(i));
  const std::vector<float> gf(gd.begin(), gd.end());
  d.Forward();
  f.Forward(2);
  d.Backward(gd);
  f.Backward(gf);
  const auto compare = [&](const std::vector<double>& a, const std::vector<float>& b, const char* what) {
    double largest = 0;
    for (const double x : a) largest = std::fmax(largest, std::fabs(x));
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance * largest) << what << " element " << i;
  };
  compare(d.out, f.out, "out");
  compare(d.param_grads, f.param_grads, "parameter gradient");
  for (size_t p = 0; p < widths.size(); ++p) compare(d.in_grads[p], f.in_grads[p], "input gradient");
}

}  // namespace sluice::nn::testing
