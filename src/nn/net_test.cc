#include "nn/net.h"

#include <cmath>
#include <limits>
#include <mutex>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "nn/block_builder.h"

namespace sluice::nn {

int64_t NumAllocations();  // allocation_counter_test.cc

namespace {

using Widths = std::vector<int64_t>;

data::Schema MakeSchema(int num_fields, int num_dense, int num_labels = 1) {
  data::Schema schema;
  for (int f = 0; f < num_fields; ++f) {
    schema.fields.push_back({.name = "f" + std::to_string(f), .vocabulary = "f" + std::to_string(f)});
    schema.fields.back().salt = VocabularySalt(schema.fields.back().vocabulary);
  }
  for (int d = 0; d < num_dense; ++d) schema.dense.push_back("d" + std::to_string(d));
  for (int l = 0; l < num_labels; ++l) schema.labels.push_back("label" + std::to_string(l));
  return schema;
}

// A batch with its rows, for every table of a net.
template <class T>
struct Problem {
  Problem(const Net<T>& net, const data::Schema& schema, int64_t size, bool weighted = false, uint64_t seed = 1) {
    const CounterRng rng(seed, 3);
    uint64_t i = 0;
    constexpr int64_t kRowsPerField = 5;
    batch.size = size;
    batch.fields.resize(schema.fields.size());
    index.resize(schema.fields.size());
    for (size_t f = 0; f < schema.fields.size(); ++f) {
      for (int64_t s = 0; s < size; ++s) {
        const auto row = static_cast<int32_t>(rng.Below(i++, kRowsPerField));
        index[f].push_back(static_cast<int32_t>(f) * kRowsPerField + row);
        batch.fields[f].keys.push_back(IntegerKey(static_cast<uint64_t>(row), schema.fields[f].salt));
      }
    }
    for (int64_t d = 0; d < size * schema.num_dense(); ++d) batch.dense.push_back(static_cast<float>(rng.Normal(i++)));
    for (int64_t l = 0; l < size * schema.num_labels(); ++l)
      batch.labels.push_back(rng.Uniform(i++) < 0.3 ? 1.0f : 0.0f);
    if (weighted)
      for (int64_t s = 0; s < size; ++s) batch.sample_weights.push_back(static_cast<float>(0.5 + rng.Uniform(i++)));
    params.resize(static_cast<size_t>(net.params().size()));
    net.params().Initialise(seed, params.data());
    for (T& p : params) p = static_cast<T>(p == T(0) ? 0.05 : p);
    buffers.resize(static_cast<size_t>(net.buffers().size()) + 1);
    net.buffers().Initialise(seed, buffers.data());
    row_values.resize(net.tables().size());
    for (size_t t = 0; t < net.tables().size(); ++t) {
      RowsView<T> view;
      view.num_rows = kRowsPerField * schema.num_fields();
      view.dim = net.tables()[t].dim;
      for (int64_t v = 0; v < view.num_rows * view.dim; ++v)
        row_values[t].push_back(static_cast<T>(0.3 * CounterRng(seed, 77 + t).Normal(static_cast<uint64_t>(v))));
      view.rows = row_values[t].data();
      for (const auto& column : index) view.index.push_back(column.data());
      rows.push_back(view);
    }
    step.step = 1;
    step.batch_size = size;
    step.seed = seed;
  }

  data::Batch batch;
  std::vector<std::vector<int32_t>> index;
  std::vector<std::vector<T>> row_values;
  std::vector<RowsView<T>> rows;
  std::vector<T> params, buffers;
  StepInfo step;
};

// Two towers over shared edges: `hidden` is read twice and `deep` is an output that another block reads too.
NetSpec SkipSpec(Precision precision, bool deterministic = false, bool batch_norm = false) {
  NetSpec spec;
  spec.precision = precision;
  spec.deterministic = deterministic;
  const OptionList mlp = {{"layers", Widths{6, 4}}, {"activation", std::string("tanh")}};
  const OptionList head = {{"layers", Widths{5, 1}}, {"activation", std::string("silu")}, {"linear_output", true}};
  spec.blocks = {
      MakeBlock("embedding", "embedding", {}, {{"dim", int64_t{3}}}),
      MakeBlock("linear", "linear", {}, {{"table", std::string("wide")}}),
      MakeBlock("bottom", "mlp", {"dense"}, mlp),
      MakeBlock("joined", "concat", {"embedding", "bottom", "bottom"}),
      MakeBlock("hidden", "mlp", {"joined"}, mlp),
      MakeBlock("deep", "mlp", {batch_norm ? "normal" : "hidden"}, head),
      MakeBlock("skip", "concat", {"hidden", "deep", "bottom"}),
      MakeBlock("top", "mlp", {"skip"}, head),
  };
  if (batch_norm) spec.blocks.push_back(MakeBlock("normal", "batch_norm", {"hidden"}));
  spec.outputs = {"linear", "deep", "top"};
  return spec;
}

template <class T>
std::unique_ptr<Net<T>> BuildOrDie(const NetSpec& spec, const data::Schema& schema) {
  auto net = Net<T>::Build(spec, schema);
  EXPECT_TRUE(net.ok()) << net.status().message();
  return std::move(net).value();
}

template <class T>
double MeanLoss(const Net<T>& net, const Problem<T>& p, ThreadPool& pool, typename Net<T>::Workspace* ws) {
  std::vector<T> buffers = p.buffers;
  net.TrainStep(p.batch, p.rows, p.params.data(), buffers.data(), p.step, pool, ws);
  return Net<T>::loss(*ws).loss / Net<T>::loss(*ws).weight;
}

void CheckNetGradients(const NetSpec& spec, const data::Schema& schema, bool weighted) {
  const auto net = BuildOrDie<double>(spec, schema);
  Problem<double> p(*net, schema, 30, weighted);
  ThreadPool pool(2);
  const auto ws = net->MakeWorkspace();
  MeanLoss(*net, p, pool, ws.get());
  const std::vector<double> grad(Net<double>::dense_grad(*ws), Net<double>::dense_grad(*ws) + net->params().size());
  std::vector<std::vector<double>> row_grads;
  for (size_t t = 0; t < net->tables().size(); ++t) {
    const int64_t num_rows = p.rows[t].num_rows;
    row_grads.emplace_back(p.row_values[t].size(), -1.0);
    for (const Range range : {Range{0, num_rows / 3}, Range{num_rows / 3, num_rows}})
      net->RowGradients(p.batch, p.rows, static_cast<int>(t), range, ws.get(), row_grads[t].data());
  }
  // Deterministic mode rounds partials to 2^-36, which a difference over 2e-5 magnifies.
  const double tolerance = spec.deterministic ? 2e-7 : 1e-8;
  const auto difference = [&](double& x) {
    const double kept = x, eps = 1e-5;
    x = kept + eps;
    const double up = MeanLoss(*net, p, pool, ws.get());
    x = kept - eps;
    const double down = MeanLoss(*net, p, pool, ws.get());
    x = kept;
    return (up - down) / (2 * eps);
  };
  for (const ParamInfo& param : net->params().params())
    for (int64_t i = param.offset; i < param.offset + param.size; ++i)
      ASSERT_NEAR(grad[static_cast<size_t>(i)], difference(p.params[static_cast<size_t>(i)]), tolerance)
          << param.name << " element " << i - param.offset;
  for (size_t t = 0; t < row_grads.size(); ++t)
    for (size_t i = 0; i < row_grads[t].size(); ++i)
      ASSERT_NEAR(row_grads[t][i], difference(p.row_values[t][i]), tolerance) << "table " << t << " element " << i;
}

TEST(NetTest, GradientsMatchFiniteDifferencesWithSharedEdges) {
  CheckNetGradients(SkipSpec(Precision::kFp64), MakeSchema(3, 4), false);
}

TEST(NetTest, GradientsMatchFiniteDifferencesWithSampleWeights) {
  CheckNetGradients(SkipSpec(Precision::kFp64, true), MakeSchema(2, 3), true);
}

TEST(NetTest, GradientsMatchFiniteDifferencesAcrossBatchSums) {
  CheckNetGradients(SkipSpec(Precision::kFp64, false, true), MakeSchema(2, 3), true);
}

TEST(NetTest, GradientsMatchFiniteDifferencesWithSeveralLabelsAndSquaredLoss) {
  const data::Schema schema = MakeSchema(2, 3, 2);
  for (const LossKind loss : {LossKind::kBce, LossKind::kMse}) {
    NetSpec spec;
    spec.precision = Precision::kFp64;
    spec.loss = loss;
    spec.blocks = {MakeBlock("linear", "linear", {}),
                   MakeBlock("deep", "mlp", {"dense"},
                             {{"layers", Widths{5, 2}}, {"activation", std::string("gelu")}, {"linear_output", true}})};
    spec.outputs = {"linear", "deep"};
    CheckNetGradients(spec, schema, true);
  }
}

TEST(NetTest, LossIsTheWeightedMean) {
  const data::Schema schema = MakeSchema(2, 3);
  const auto net = BuildOrDie<double>(SkipSpec(Precision::kFp64), schema);
  const Problem<double> p(*net, schema, 50, true);
  ThreadPool pool(1);
  const auto ws = net->MakeWorkspace();
  const double loss = MeanLoss(*net, p, pool, ws.get());
  double sum = 0, weights = 0;
  for (size_t i = 0; i < 50; ++i) {
    const double s = Net<double>::logits(*ws)[i], y = p.batch.labels[i], w = p.batch.sample_weights[i];
    sum -= w * (y * std::log(1 / (1 + std::exp(-s))) + (1 - y) * std::log(1 / (1 + std::exp(s))));
    weights += w;
  }
  EXPECT_NEAR(loss, sum / weights, 1e-12);
  // Prediction gives the logits of training, where there is no dropout and no BatchNorm.
  const std::vector<double> trained(Net<double>::logits(*ws), Net<double>::logits(*ws) + 50);
  net->Predict(p.batch, p.rows, p.params.data(), p.buffers.data(), pool, ws.get());
  EXPECT_EQ(std::vector<double>(Net<double>::logits(*ws), Net<double>::logits(*ws) + 50), trained);
}

template <class T>
struct Outcome {
  std::vector<T> logits, grad, row_grad;
  double loss = 0;
  bool operator==(const Outcome&) const = default;
};

template <class T>
Outcome<T> RunOnce(const NetSpec& spec, const data::Schema& schema, int64_t size, int threads) {
  const auto net = BuildOrDie<T>(spec, schema);
  Problem<T> p(*net, schema, size);
  ThreadPool pool(threads);
  const auto ws = net->MakeWorkspace();
  Outcome<T> out;
  out.loss = MeanLoss(*net, p, pool, ws.get());
  out.logits.assign(Net<T>::logits(*ws), Net<T>::logits(*ws) + size * schema.num_labels());
  out.grad.assign(Net<T>::dense_grad(*ws), Net<T>::dense_grad(*ws) + net->params().size());
  out.row_grad.resize(p.row_values[0].size());
  net->RowGradients(p.batch, p.rows, 0, {0, p.rows[0].num_rows}, ws.get(), out.row_grad.data());
  return out;
}

TEST(NetTest, DeterministicModeGivesTheSameBitsOnAnyNumberOfThreads) {
  const data::Schema schema = MakeSchema(3, 4);
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    for (const bool batch_norm : {false, true}) {
      for (const int64_t size : {7, 500}) {
        const NetSpec spec = SkipSpec(precision, true, batch_norm);
        const auto one = RunOnce<float>(spec, schema, size, 1);
        for (const int threads : {2, 4, 5}) EXPECT_EQ(RunOnce<float>(spec, schema, size, threads), one) << threads;
      }
    }
  }
}

TEST(NetTest, FastModeGivesTheSameBitsFromRunToRun) {
  const data::Schema schema = MakeSchema(3, 4);
  const NetSpec spec = SkipSpec(Precision::kFp32);
  const auto first = RunOnce<float>(spec, schema, 5000, 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(RunOnce<float>(spec, schema, 5000, 3), first);
}

template <class T>
double RelativeDifference(const std::vector<T>& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

TEST(NetTest, FloatAndBf16FollowDouble) {
  const data::Schema schema = MakeSchema(3, 4);
  const auto exact = RunOnce<double>(SkipSpec(Precision::kFp64), schema, 3000, 2);
  const auto fp32 = RunOnce<float>(SkipSpec(Precision::kFp32), schema, 3000, 2);
  EXPECT_NEAR(fp32.loss, exact.loss, 1e-6 * exact.loss);
  EXPECT_LT(RelativeDifference(fp32.logits, exact.logits), 1e-6);
  EXPECT_LT(RelativeDifference(fp32.grad, exact.grad), 3e-6);
  EXPECT_LT(RelativeDifference(fp32.row_grad, exact.row_grad), 3e-6);
  const auto bf16 = RunOnce<float>(SkipSpec(Precision::kBf16), schema, 3000, 2);
  EXPECT_NEAR(bf16.loss, exact.loss, 5e-3 * exact.loss);
  EXPECT_LT(RelativeDifference(bf16.logits, exact.logits), 0.02);
  EXPECT_LT(RelativeDifference(bf16.grad, exact.grad), 0.03);
  EXPECT_GT(RelativeDifference(bf16.grad, exact.grad), 1e-5);
}

TEST(NetTest, StepsAllocateNothingAfterTheFirst) {
  const data::Schema schema = MakeSchema(3, 4);
  for (const bool deterministic : {false, true}) {
    const auto net = BuildOrDie<double>(SkipSpec(Precision::kFp64, deterministic, deterministic), schema);
    Problem<double> p(*net, schema, 300), smaller(*net, schema, 111);
    ThreadPool pool(2);
    const auto ws = net->MakeWorkspace();
    std::vector<double> row_grads(p.row_values[0].size());
    const auto step = [&](Problem<double>& problem) {
      net->TrainStep(problem.batch, problem.rows, problem.params.data(), problem.buffers.data(), problem.step, pool,
                     ws.get());
      net->RowGradients(problem.batch, problem.rows, 0, {0, problem.rows[0].num_rows}, ws.get(), row_grads.data());
    };
    step(p);
    const int64_t before = NumAllocations();
    step(p);
    step(smaller);
    step(p);
    EXPECT_EQ(NumAllocations() - before, 0) << "deterministic " << deterministic;
  }
}

TEST(NetTest, SeveralBatchesMayBeInFlight) {
  const data::Schema schema = MakeSchema(3, 4);
  const auto net = BuildOrDie<float>(SkipSpec(Precision::kFp32), schema);
  Problem<float> a(*net, schema, 64, false, 1), b(*net, schema, 64, false, 2);
  ThreadPool pool(2);
  const auto wa = net->MakeWorkspace(), wb = net->MakeWorkspace();
  MeanLoss(*net, a, pool, wa.get());
  std::vector<float> expected(a.row_values[0].size()), found(expected.size());
  net->RowGradients(a.batch, a.rows, 0, {0, a.rows[0].num_rows}, wa.get(), expected.data());
  MeanLoss(*net, b, pool, wb.get());
  net->RowGradients(a.batch, a.rows, 0, {0, a.rows[0].num_rows}, wa.get(), found.data());
  EXPECT_EQ(found, expected);
}

TEST(NetTest, FlopsLeaveOutTheGradientOfData) {
  const data::Schema schema = MakeSchema(1, 13);
  NetSpec spec;
  spec.blocks = {MakeBlock("a", "mlp", {"dense"}, {{"layers", Widths{8}}}),
                 MakeBlock("b", "mlp", {"a"}, {{"layers", Widths{1}}})};
  spec.outputs = {"b"};
  EXPECT_EQ(BuildOrDie<float>(spec, schema)->flops_per_sample(), 2.0 * (2 * 13 * 8 + 3 * 8 * 1));
}

TEST(NetTest, EmptyBatchGivesZeroGradients) {
  const data::Schema schema = MakeSchema(2, 3);
  for (const bool deterministic : {false, true}) {
    const auto out = RunOnce<float>(SkipSpec(Precision::kFp32, deterministic), schema, 0, 2);
    for (const float g : out.grad) EXPECT_EQ(g, 0.0f);
  }
}

std::string BuildError(NetSpec spec, const data::Schema& schema) {
  return Net<float>::Build(spec, schema).status().message();
}

TEST(NetTest, GraphErrorsNameBlockAndEdge) {
  const data::Schema schema = MakeSchema(2, 3);
  const OptionList one = {{"layers", Widths{1}}};
  const auto spec_of = [](std::vector<BlockConfig> blocks, std::vector<std::string> outputs) {
    NetSpec spec;
    spec.blocks = std::move(blocks);
    spec.outputs = std::move(outputs);
    return spec;
  };
  const auto has = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  std::string error = BuildError(spec_of({MakeBlock("a", "mlp", {"dens"}, one)}, {"a"}), schema);
  EXPECT_TRUE(has(error, "'a'") && has(error, "'dens'")) << error;
  error = BuildError(spec_of({MakeBlock("a", "sum", {"b"}), MakeBlock("b", "sum", {"a"})}, {"a"}), schema);
  EXPECT_TRUE(has(error, "cycle") && has(error, "a, b")) << error;
  error = BuildError(spec_of({MakeBlock("a", "mlp", {"dense"}, one), MakeBlock("b", "mlp", {"dense"}, one)}, {"a"}),
                     schema);
  EXPECT_TRUE(has(error, "'b' is used by no block")) << error;
  error = BuildError(spec_of({MakeBlock("a", "mlp", {"dense"}, {{"layers", Widths{3}}})}, {"a"}), schema);
  EXPECT_TRUE(has(error, "'a' has width 3")) << error;
  error = BuildError(spec_of({MakeBlock("a", "mlp", {"dense"}, one), MakeBlock("a", "mlp", {"dense"}, one)}, {"a"}),
                     schema);
  EXPECT_TRUE(has(error, "two blocks are named 'a'")) << error;
  error = BuildError(spec_of({MakeBlock("a", "mlp", {"dense"}, one)}, {"c"}), schema);
  EXPECT_TRUE(has(error, "'c'")) << error;
  error = BuildError(spec_of({MakeBlock("a", "mlp", {"dense"}, one)}, {"a"}), MakeSchema(2, 0));
  EXPECT_TRUE(has(error, "no numeric features")) << error;
}

std::string StepError(Net<float>& net, Problem<float>& p) {
  ThreadPool pool(2);
  const auto ws = net.MakeWorkspace();
  try {
    MeanLoss(net, p, pool, ws.get());
  } catch (const StatusError& error) {
    EXPECT_EQ(error.status().code(), StatusCode::kNumeric);
    return error.status().message();
  }
  return {};
}

TEST(NetTest, ValuesThatAreNotFiniteAreNamed) {
  const data::Schema schema = MakeSchema(2, 3);
  const auto net = BuildOrDie<float>(SkipSpec(Precision::kFp32), schema);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Problem<float> clean(*net, schema, 100);
  clean.step.step = 17;
  const auto has = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_EQ(StepError(*net, clean), "");
  {
    Problem<float> p = clean;
    p.params[static_cast<size_t>(net->params().Find("hidden/layer1/bias")->offset)] = nan;
    const std::string error = StepError(*net, p);
    EXPECT_TRUE(has(error, "step 17") && has(error, "'hidden'") && has(error, "'hidden/layer1/bias'")) << error;
  }
  {
    Problem<float> p = clean;
    const size_t table = net->tables()[0].name == "wide" ? 1 : 0;
    std::vector<float> bad = p.row_values[table];
    bad[static_cast<size_t>(p.index[1][42] * p.rows[table].dim)] = nan;
    p.rows[table].rows = bad.data();
    const std::string error = StepError(*net, p);
    const std::string key = fmt::format("{:#018x}", p.batch.fields[1].keys[42]);
    EXPECT_TRUE(has(error, "'embedding'") && has(error, "field 'f1'") && has(error, key)) << error;
  }
  {
    Problem<float> p = clean;
    p.batch.dense[100] = std::numeric_limits<float>::infinity();
    const std::string error = StepError(*net, p);
    EXPECT_TRUE(has(error, "'bottom/layer0/weight'") && has(error, "numeric features")) << error;
  }
  {
    Problem<float> p = clean;
    p.batch.labels[3] = nan;
    EXPECT_TRUE(has(StepError(*net, p), "loss"));
  }
}

TEST(NetTest, TellsOfEveryPartOfTheGradientOnceAndWhenItIsFinal) {
  const data::Schema schema = MakeSchema(3, 4);
  for (const bool batch_norm : {false, true}) {
    const auto net = BuildOrDie<double>(SkipSpec(Precision::kFp64, false, batch_norm), schema);
    for (const int threads : {1, 2, 3}) {
      for (const int64_t size : {int64_t{2}, int64_t{30}, int64_t{2500}}) {
        Problem<double> p(*net, schema, size);
        ThreadPool pool(threads);
        const auto ws = net->MakeWorkspace();
        MeanLoss(*net, p, pool, ws.get());
        const auto total = static_cast<size_t>(net->params().size());
        const std::vector<double> expected(Net<double>::dense_grad(*ws), Net<double>::dense_grad(*ws) + total);
        std::vector<double> told(total, -1.0);
        std::vector<int> times(total, 0);
        std::mutex mutex;
        StepParts<double> parts;
        parts.weight = static_cast<double>(size);
        parts.gradients_final = [&](std::span<double> all, Range part) {
          std::lock_guard lock(mutex);
          ASSERT_EQ(all.size(), total);
          for (int64_t i = part.begin; i < part.end; ++i) {
            told[static_cast<size_t>(i)] = all[static_cast<size_t>(i)];
            ++times[static_cast<size_t>(i)];
          }
        };
        std::vector<double> buffers = p.buffers;
        net->TrainStep(p.batch, p.rows, p.params.data(), buffers.data(), p.step, pool, ws.get(), &parts);
        EXPECT_EQ(times, std::vector<int>(total, 1));
        EXPECT_EQ(told, expected) << threads << " threads, " << size << " samples";
        EXPECT_EQ(told, std::vector<double>(Net<double>::dense_grad(*ws), Net<double>::dense_grad(*ws) + total));
      }
    }
  }
}

}  // namespace
}  // namespace sluice::nn
