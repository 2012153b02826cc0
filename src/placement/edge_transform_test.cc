// An edge of the net accepts a transform that masks what passes and moves it to another rank: two stages of a
// multilayer perceptron on two ranks. Source: DCT (Gupta et al., KDD 2021), thresholded activations and gradients. A
// prototype: each rank runs the whole net and applies only its own stage's gradients.
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "comm/rank_threads.h"
#include "nn/block_builder.h"
#include "nn/net.h"

namespace sluice::placement {
namespace {

using nn::Matrix;
using nn::Net;

constexpr int64_t kSamples = 32;
constexpr double kThreshold = 0.2;

nn::NetSpec TwoStages() {
  nn::NetSpec spec;
  spec.precision = nn::Precision::kFp64;
  spec.output_bias = false;
  using Widths = std::vector<int64_t>;
  spec.blocks = {
      nn::MakeBlock("lower", "mlp", {"dense"}, {{"layers", Widths{8, 5}}, {"activation", std::string("tanh")}}),
      nn::MakeBlock("upper", "mlp", {"lower"},
                    {{"layers", Widths{6, 1}}, {"activation", std::string("tanh")}, {"linear_output", true}})};
  spec.outputs = {"upper"};
  return spec;
}

struct Training {
  data::Schema schema;
  data::Batch batch;
  std::unique_ptr<Net<double>> net;
  Net<double>::WorkspacePtr workspace;
  std::vector<double> params;
  ThreadPool pool{1};

  Training() {
    schema.labels = {"label"};
    for (int d = 0; d < 4; ++d) schema.dense.push_back("d" + std::to_string(d));
    batch.size = kSamples;
    for (int64_t i = 0; i < kSamples * 4; ++i)
      batch.dense.push_back(static_cast<float>(std::sin(0.7 * static_cast<double>(i))));
    for (int64_t i = 0; i < kSamples; ++i)
      batch.labels.push_back(batch.dense[static_cast<size_t>(4 * i)] > 0 ? 1.0f : 0.0f);
    net = Net<double>::Build(TwoStages(), schema).value();
    workspace = net->MakeWorkspace();
    params.resize(static_cast<size_t>(net->params().size()));
    net->params().Initialise(3, params.data());
  }
  // One step of gradient descent on the parameters of `stage`, or of all.
  void Step(int64_t step, const nn::StepParts<double>& parts, const std::string& stage) {
    double no_buffers = 0;
    net->TrainStep(batch, {}, params.data(), &no_buffers, {step, 0, kSamples, true, 1}, pool, workspace.get(), &parts);
    const double* gradient = Net<double>::dense_grad(*workspace);
    for (const nn::ParamInfo& param : net->params().params())
      if (param.name.starts_with(stage))
        for (int64_t i = param.offset; i < param.offset + param.size; ++i)
          params[static_cast<size_t>(i)] -= 0.5 * gradient[i];
  }
  double Loss() const { return Net<double>::loss(*workspace).loss; }
};

int64_t Mask(Matrix<double> values) {
  int64_t zeroed = 0;
  for (int64_t i = 0; i < values.rows; ++i) {
    for (int64_t j = 0; j < values.cols; ++j) {
      if (std::abs(values.row(i)[j]) >= kThreshold) continue;
      values.row(i)[j] = 0;
      ++zeroed;
    }
  }
  return zeroed;
}

TEST(EdgeTransformTest, AMaskedEdgeBetweenTwoRanksTrainsWhatOneRankTrains) {
  constexpr int kSteps = 25;
  nn::StepParts<double> alone_parts;
  alone_parts.weight = kSamples;
  alone_parts.edges = {{"lower", [](Matrix<double> values, Range) { Mask(values); }, {}}};
  Training alone;
  for (int step = 1; step <= kSteps; ++step) alone.Step(step, alone_parts, "");

  std::map<std::string, std::vector<double>> stages;
  std::mutex mutex;
  int64_t masked = 0;
  double first_loss = 0, last_loss = 0;
  comm::RunRankThreads(2, std::chrono::milliseconds(30000), [&](comm::Communicator& comm) {
    const bool lower = comm.rank() == 0;
    Training mine;
    // The edge's rows lie apart; they travel packed. Rank `from` has what counts.
    const auto transfer = [&](Matrix<double> matrix, int from) {
      std::vector<double> packed(static_cast<size_t>(matrix.rows * matrix.cols));
      for (int64_t i = 0; i < matrix.rows; ++i)
        std::copy_n(matrix.row(i), matrix.cols, packed.data() + i * matrix.cols);
      ASSERT_TRUE(comm.Broadcast(std::as_writable_bytes(std::span(packed)), from, comm::Traffic::kPartials).ok());
      for (int64_t i = 0; i < matrix.rows; ++i)
        std::copy_n(packed.data() + i * matrix.cols, matrix.cols, matrix.row(i));
    };
    nn::StepParts<double> parts;
    parts.weight = kSamples;
    parts.edges = {{"lower",
                    [&](Matrix<double> values, Range) {
                      const int64_t zeroed = Mask(values);
                      if (lower) masked += zeroed;
                      transfer(values, 0);
                    },
                    [&](Matrix<double> gradients, Range) { transfer(gradients, 1); }}};
    for (int step = 1; step <= kSteps; ++step) {
      mine.Step(step, parts, lower ? "lower/" : "upper/");
      if (!lower && step == 1) first_loss = mine.Loss();
      if (!lower) last_loss = mine.Loss();
    }
    std::lock_guard lock(mutex);
    stages[lower ? "lower/" : "upper/"] = mine.params;
  });
  for (const nn::ParamInfo& param : alone.net->params().params())
    for (int64_t i = param.offset; i < param.offset + param.size; ++i)
      ASSERT_EQ(stages.at(param.name.substr(0, 6))[static_cast<size_t>(i)], alone.params[static_cast<size_t>(i)])
          << param.name;
  EXPECT_GT(masked, 0);
  EXPECT_LT(masked, kSteps * kSamples * 5);
  EXPECT_LT(last_loss, 0.8 * first_loss);
}

}  // namespace
}  // namespace sluice::placement
