#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include <gtest/gtest.h>

#include "nn/block_builder.h"
#include "nn/block_test_util.h"
#include "nn/embedding_op.h"
#include "nn/sparse_op_kernels.h"

namespace sluice::nn {
namespace {

using testing::Value;

enum Kind { kOneHot, kWeightedOneHot, kBags, kWeightedBags };

// A batch over fields of the given kinds, and one table's rows for it. Rows are few, so that samples share them and
// bags hold a key twice.
struct Problem {
  data::Schema schema;
  data::Batch batch;
  std::vector<std::vector<int32_t>> index;
  int64_t num_rows = 0;

  Problem(const std::vector<Kind>& kinds, int64_t size, int64_t rows_per_field, int num_labels = 1) {
    const CounterRng rng(17, 3);
    uint64_t n = 0;
    for (int l = 0; l < num_labels; ++l) schema.labels.push_back("y" + std::to_string(l));
    batch.size = size;
    for (size_t f = 0; f < kinds.size(); ++f) {
      schema.fields.push_back({.name = "f" + std::to_string(f), .vocabulary = "f" + std::to_string(f)});
      data::FieldColumn column;
      const bool bags = kinds[f] == kBags || kinds[f] == kWeightedBags;
      std::vector<int32_t> rows;
      if (bags) column.offsets.push_back(0);
      for (int64_t i = 0; i < size; ++i) {
        const int64_t keys = bags ? static_cast<int64_t>(rng.Below(n++, 6)) : 1;
        for (int64_t j = 0; j < keys; ++j) {
          rows.push_back(static_cast<int32_t>(num_rows + static_cast<int64_t>(rng.Below(n++, rows_per_field))));
          column.keys.push_back(static_cast<Key>(rows.back()));
          if (kinds[f] == kWeightedBags || kinds[f] == kWeightedOneHot)
            column.weights.push_back(static_cast<float>(0.25 * (1 + static_cast<double>(rng.Below(n++, 8)))));
        }
        if (bags) column.offsets.push_back(static_cast<int32_t>(rows.size()));
      }
      schema.fields.back().one_hot = !bags;
      schema.fields.back().weighted = !column.weights.empty();
      batch.fields.push_back(std::move(column));
      index.push_back(std::move(rows));
      num_rows += rows_per_field;
    }
  }

  template <class T>
  RowsView<T> View(const std::vector<T>& rows, int64_t dim) const {
    RowsView<T> view{.rows = rows.data(), .num_rows = num_rows, .dim = dim, .index = {}, .row_range = {}, .whole = {}};
    const int64_t rows_per_field = num_rows / static_cast<int64_t>(index.size());
    for (const auto& of_field : index) {
      const int64_t begin = rows_per_field * static_cast<int64_t>(view.index.size());
      view.index.push_back(of_field.data());
      view.row_range.push_back({begin, begin + rows_per_field});
      view.whole.push_back(std::all_of(of_field.begin(), of_field.end(), [](int32_t row) { return row >= 0; }));
    }
    return view;
  }
};

template <class T>
struct Built {
  std::unique_ptr<SparseOp<T>> op;
  int64_t dim = 0;  // width of the table, with two columns that belong to nobody in front
};

template <class T>
Built<T> Build(const std::string& type, const Problem& problem, const OptionList& options,
               const std::vector<std::pair<std::string, FieldPooling>>& per_field = {}) {
  Built<T> built{.op = nullptr, .dim = 2};
  BuildContext context;
  context.schema = &problem.schema;
  context.name = "op";
  context.request_columns = [&](const std::string&, const std::vector<int>&, int64_t columns, const std::string&,
                                ColumnStart) -> Result<int64_t> {
    built.dim += columns;
    return built.dim - columns;
  };
  BlockConfig config = MakeBlock("op", type, {}, options);
  if (!per_field.empty()) static_cast<EmbeddingOptions&>(*config.options).per_field = per_field;
  if constexpr (std::is_same_v<T, double>)
    built.op = FindBlockType(type)->make_sparse_f64(*config.options, context).value();
  else
    built.op = FindBlockType(type)->make_sparse_f32(*config.options, context).value();
  return built;
}

template <class T>
std::vector<T> Rows(const Problem& problem, int64_t dim) {
  std::vector<T> rows(problem.num_rows * dim);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<T>(Value(31, static_cast<int64_t>(i)));
  return rows;
}

// Everything a net does with an operator, on several pieces.
template <class T>
struct Pass {
  std::vector<T> partial, out;

  static Matrix<T> View(std::vector<T>& v, int64_t rows) {
    const int64_t cols = static_cast<int64_t>(v.size()) / rows;
    return {v.data(), rows, cols, cols};
  }

  void Forward(const SparseOp<T>& op, const Problem& problem, const RowsView<T>& rows, int pieces = 3) {
    const int64_t n = problem.batch.size;
    partial.assign(n * op.partial_width(), T(-99));
    for (int p = 0; p < pieces; ++p) {
      const Range range = PartRange(n, p, pieces);
      op.Partial(problem.batch, rows, range, View(partial, n).Rows(range));
    }
    Finish(op, n);
  }
  void Finish(const SparseOp<T>& op, int64_t n) {
    out.assign(n * op.output_width(), T(-99));
    op.Finish({0, n}, View(partial, n), View(out, n));
  }
  std::vector<T> Backward(const SparseOp<T>& op, const Problem& problem, const RowsView<T>& rows, std::vector<T> g,
                          const std::vector<Range>& row_ranges) {
    const int64_t n = problem.batch.size;
    std::vector<T> partial_grad(partial.size(), T(-99));
    op.FinishBackward({0, n}, View(partial, n), View(g, n), View(partial_grad, n));
    std::vector<T> row_grads(problem.num_rows * rows.dim, T(0));
    for (const Range& range : row_ranges)
      for (const int field : op.fields())
        op.AddRowGradients(problem.batch, rows, field, range, View(partial, n), View(partial_grad, n),
                           row_grads.data());
    return row_grads;
  }
};

template <class T>
std::vector<T> OutGrad(const SparseOp<T>& op, const Problem& problem) {
  std::vector<T> g(problem.batch.size * op.output_width());
  for (size_t i = 0; i < g.size(); ++i) g[i] = static_cast<T>(Value(77, static_cast<int64_t>(i)));
  return g;
}

// ---- naive references, written from the formulas

double Coefficient(const data::FieldColumn& column, int64_t i, int64_t j, const std::string& pooling) {
  const auto weight = [&](int64_t k) { return column.weights.empty() ? 1.0 : double{column.weights[k]}; };
  double norm = 1;
  if (pooling == "mean" || pooling == "sqrtn") {
    norm = 0;
    for (int64_t k = column.begin(i); k < column.end(i); ++k)
      norm += pooling == "mean" ? weight(k) : weight(k) * weight(k);
    if (pooling == "sqrtn") norm = std::sqrt(norm);
  }
  return weight(j) / norm;
}

std::vector<double> NaiveEmbedding(const Problem& p, const std::vector<double>& rows, int64_t dim, int64_t column,
                                   int64_t width, const std::vector<std::string>& poolings) {
  std::vector<double> out;
  for (int64_t i = 0; i < p.batch.size; ++i) {
    for (size_t f = 0; f < p.index.size(); ++f) {
      const auto& keys = p.batch.fields[f];
      for (int64_t d = 0; d < width; ++d) {
        double value = 0;
        double best = -std::numeric_limits<double>::infinity();
        for (int64_t j = keys.begin(i); j < keys.end(i); ++j) {
          const double x = Coefficient(keys, i, j, poolings[f]) * rows[p.index[f][j] * dim + column + d];
          value += x;
          best = std::max(best, x);
        }
        if (poolings[f] == "max") value = keys.begin(i) == keys.end(i) ? 0 : best;
        out.push_back(value);
      }
    }
  }
  return out;
}

// Rendle's double sum over pairs of occurrences; with weights x_j.
std::vector<double> NaiveFm(const Problem& p, const std::vector<double>& rows, int64_t dim, int64_t weight,
                            int64_t factor, int64_t width, int labels) {
  std::vector<double> out;
  for (int64_t i = 0; i < p.batch.size; ++i) {
    std::vector<std::pair<double, const double*>> occurrences;
    for (size_t f = 0; f < p.index.size(); ++f)
      for (int64_t j = p.batch.fields[f].begin(i); j < p.batch.fields[f].end(i); ++j)
        occurrences.emplace_back(Coefficient(p.batch.fields[f], i, j, "sum"), rows.data() + p.index[f][j] * dim);
    for (int l = 0; l < labels; ++l) {
      double sum = 0;
      for (size_t a = 0; a < occurrences.size(); ++a) {
        if (weight >= 0) sum += occurrences[a].first * occurrences[a].second[weight + l];
        for (size_t b = 0; b < a; ++b)
          for (int64_t d = 0; d < width; ++d)
            sum += occurrences[a].first * occurrences[b].first * occurrences[a].second[factor + l * width + d] *
                   occurrences[b].second[factor + l * width + d];
      }
      out.push_back(sum);
    }
  }
  return out;
}

void ExpectNear(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << "element " << i;
}

// Row gradients against central differences; elements that the batch does not touch stay zero.
void CheckRowGradients(const Built<double>& built, const Problem& problem) {
  std::vector<double> rows = Rows<double>(problem, built.dim);
  const RowsView<double> view = problem.View(rows, built.dim);
  Pass<double> run;
  run.Forward(*built.op, problem, view);
  const std::vector<double> g = OutGrad(*built.op, problem);
  const auto grads = run.Backward(*built.op, problem, view, g, {{0, problem.num_rows}});
  for (size_t e = 0; e < rows.size(); ++e) {
    const double kept = rows[e], eps = 1e-5;
    rows[e] = kept + eps;
    run.Forward(*built.op, problem, view);
    const double up = testing::Dot(run.out, g);
    rows[e] = kept - eps;
    run.Forward(*built.op, problem, view);
    const double down = testing::Dot(run.out, g);
    rows[e] = kept;
    ASSERT_NEAR(grads[e], (up - down) / (2 * eps), 1e-7) << "row " << e / built.dim << " column " << e % built.dim;
  }
}

// Partials over disjoint owners reduce to the whole, and owners' row gradients are the whole's.
void CheckSplitAlgebra(const Built<double>& built, const Problem& problem) {
  const SparseOp<double>& op = *built.op;
  const std::vector<double> rows = Rows<double>(problem, built.dim);
  const RowsView<double> view = problem.View(rows, built.dim);
  Pass<double> whole;
  whole.Forward(op, problem, view);
  const std::vector<double> g = OutGrad(op, problem);
  const auto whole_grads = whole.Backward(op, problem, view, g, {{0, problem.num_rows}});
  for (int owners = 1; owners <= 3; ++owners) {
    SCOPED_TRACE(owners);
    std::vector<Problem> parts(owners, problem);
    Pass<double> reduced;
    for (int o = 0; o < owners; ++o) {
      for (auto& of_field : parts[o].index)
        for (int32_t& row : of_field)
          if (row % owners != o) row = -1;
      Pass<double> part;
      part.Forward(op, parts[o], parts[o].View(rows, built.dim));
      if (o == 0) reduced.partial.assign(part.partial.size(), op.reduction() == Reduction::kMax ? -1e300 : 0.0);
      for (size_t i = 0; i < part.partial.size(); ++i)
        reduced.partial[i] = op.reduction() == Reduction::kMax ? std::max(reduced.partial[i], part.partial[i])
                                                               : reduced.partial[i] + part.partial[i];
    }
    for (double& x : reduced.partial)
      if (x == -1e300) x = -std::numeric_limits<double>::infinity();
    reduced.Finish(op, problem.batch.size);
    ExpectNear(reduced.out, whole.out, 1e-12);
    std::vector<double> grads(whole_grads.size(), 0.0);
    for (int o = 0; o < owners; ++o) {
      const auto part = reduced.Backward(op, parts[o], parts[o].View(rows, built.dim), g, {{0, problem.num_rows}});
      for (size_t i = 0; i < grads.size(); ++i) {
        if (part[i] != 0) {
          ASSERT_EQ(static_cast<int64_t>(i) / built.dim % owners, o) << "a row of another owner";
        }
        grads[i] += part[i];
      }
    }
    ExpectNear(grads, whole_grads, 1e-12);
  }
}

// Ranges of rows, in any number, give the bits of one range; other columns are left alone.
void CheckRanges(const Built<double>& built, const Problem& problem) {
  const std::vector<double> rows = Rows<double>(problem, built.dim);
  const RowsView<double> view = problem.View(rows, built.dim);
  Pass<double> run;
  run.Forward(*built.op, problem, view, 1);
  const auto one_piece = run.out;
  run.Forward(*built.op, problem, view, 7);
  EXPECT_EQ(run.out, one_piece);
  const std::vector<double> g = OutGrad(*built.op, problem);
  const auto whole = run.Backward(*built.op, problem, view, g, {{0, problem.num_rows}});
  const int64_t third = problem.num_rows / 3;
  const auto cut =
      run.Backward(*built.op, problem, view, g, {{third, 2 * third}, {0, third}, {2 * third, problem.num_rows}});
  EXPECT_EQ(cut, whole);
  for (size_t i = 0; i < whole.size(); ++i)
    ASSERT_TRUE(static_cast<int64_t>(i) % built.dim >= 2 || whole[i] == 0.0) << "a column of nobody's";
}

void CheckFloat(const std::string& type, const Problem& problem, const OptionList& options) {
  const auto d = Build<double>(type, problem, options);
  const auto f = Build<float>(type, problem, options);
  const auto rows_d = Rows<double>(problem, d.dim);
  const auto rows_f = Rows<float>(problem, f.dim);
  Pass<double> run_d;
  Pass<float> run_f;
  run_d.Forward(*d.op, problem, problem.View(rows_d, d.dim));
  run_f.Forward(*f.op, problem, problem.View(rows_f, f.dim));
  const auto grads_d =
      run_d.Backward(*d.op, problem, problem.View(rows_d, d.dim), OutGrad(*d.op, problem), {{0, problem.num_rows}});
  const auto grads_f =
      run_f.Backward(*f.op, problem, problem.View(rows_f, f.dim), OutGrad(*f.op, problem), {{0, problem.num_rows}});
  for (size_t i = 0; i < run_d.out.size(); ++i) ASSERT_NEAR(run_d.out[i], run_f.out[i], 2e-4) << "output " << i;
  for (size_t i = 0; i < grads_d.size(); ++i) ASSERT_NEAR(grads_d[i], grads_f[i], 2e-3) << "row gradient " << i;
}

void CheckAll(const std::string& type, const Problem& problem, const OptionList& options) {
  const auto built = Build<double>(type, problem, options);
  CheckRowGradients(built, problem);
  CheckSplitAlgebra(built, problem);
  CheckRanges(built, problem);
  CheckFloat(type, problem, options);
}

const std::vector<Kind> kAllKinds = {kOneHot, kBags, kWeightedOneHot, kWeightedBags};

TEST(LinearTest, IsTheWeightedSumOverKeys) {
  for (const int labels : {1, 3}) {
    SCOPED_TRACE(labels);
    const Problem problem(kAllKinds, 150, 5, labels);
    const auto built = Build<double>("linear", problem, {});
    const auto rows = Rows<double>(problem, built.dim);
    Pass<double> run;
    run.Forward(*built.op, problem, problem.View(rows, built.dim));
    for (int64_t i = 0; i < problem.batch.size; ++i) {
      for (int l = 0; l < labels; ++l) {
        double sum = 0;
        for (size_t f = 0; f < problem.index.size(); ++f)
          for (int64_t j = problem.batch.fields[f].begin(i); j < problem.batch.fields[f].end(i); ++j)
            sum += Coefficient(problem.batch.fields[f], i, j, "sum") * rows[problem.index[f][j] * built.dim + 2 + l];
        ASSERT_NEAR(run.out[i * labels + l], sum, 1e-13);
      }
    }
    CheckAll("linear", problem, {});
  }
}

TEST(FmTest, IsTheSumOverPairs) {
  for (const int64_t width : {16, 5, 20}) {
    for (const bool linear : {true, false}) {
      for (const int labels : {1, 2}) {
        SCOPED_TRACE(fmt::format("dim {} linear {} labels {}", width, linear, labels));
        const Problem problem(kAllKinds, 90, 3, labels);
        const OptionList options = {{"dim", width}, {"linear", linear}};
        const auto built = Build<double>("fm", problem, options);
        const auto rows = Rows<double>(problem, built.dim);
        Pass<double> run;
        run.Forward(*built.op, problem, problem.View(rows, built.dim));
        const int64_t factor = linear ? 2 + labels : 2;
        ExpectNear(run.out, NaiveFm(problem, rows, built.dim, linear ? 2 : -1, factor, width, labels), 1e-11);
        EXPECT_EQ(built.op->partial_width(), labels * (width + 1));
      }
    }
  }
}

TEST(FmTest, GradientsSplitsAndFloatAgree) {
  CheckAll("fm", Problem(kAllKinds, 70, 3), {{"dim", int64_t{16}}});
  CheckAll("fm", Problem({kOneHot, kOneHot}, 70, 3), {{"dim", int64_t{7}}});
  CheckAll("fm", Problem(kAllKinds, 40, 3, 2), {{"dim", int64_t{3}}, {"linear", false}});
}

TEST(EmbeddingOpTest, PoolsAsItsFormulaSays) {
  for (const std::string pooling : {"sum", "mean", "sqrtn", "max"}) {
    for (const int64_t width : {1, 5, 16, 20}) {
      SCOPED_TRACE(fmt::format("{} {}", pooling, width));
      const Problem problem(kAllKinds, 150, 5);
      const OptionList options = {{"dim", width}, {"pooling", pooling}};
      const auto built = Build<double>("embedding", problem, options);
      const auto rows = Rows<double>(problem, built.dim);
      Pass<double> run;
      run.Forward(*built.op, problem, problem.View(rows, built.dim));
      ExpectNear(run.out, NaiveEmbedding(problem, rows, built.dim, 2, width, std::vector<std::string>(4, pooling)),
                 1e-13);
    }
  }
}

TEST(EmbeddingOpTest, GradientsSplitsAndFloatAgree) {
  for (const std::string pooling : {"sum", "mean", "sqrtn", "max"}) {
    for (const int64_t width : {5, 16}) {
      SCOPED_TRACE(fmt::format("{} {}", pooling, width));
      CheckAll("embedding", Problem(kAllKinds, 70, 3), {{"dim", width}, {"pooling", pooling}});
    }
  }
  // The gradient of a maximum takes 64 columns at a time.
  CheckAll("embedding", Problem(kAllKinds, 30, 3), {{"dim", int64_t{70}}, {"pooling", std::string("max")}});
}

TEST(EmbeddingOpTest, FieldsMayPoolDifferently) {
  const Problem problem(kAllKinds, 60, 4);
  const auto built = Build<double>("embedding", problem, {{"dim", int64_t{4}}, {"pooling", std::string("mean")}},
                                   {{"f1", {"sqrtn"}}, {"f3", {"sum"}}});
  const auto rows = Rows<double>(problem, built.dim);
  Pass<double> run;
  run.Forward(*built.op, problem, problem.View(rows, built.dim));
  ExpectNear(run.out, NaiveEmbedding(problem, rows, built.dim, 2, 4, {"mean", "sqrtn", "mean", "sum"}), 1e-13);
  CheckRowGradients(built, problem);
}

TEST(EmbeddingOpTest, EmptyBagsGiveZerosAndTakeNoGradient) {
  for (const std::string pooling : {"sum", "mean", "sqrtn", "max"}) {
    SCOPED_TRACE(pooling);
    Problem problem({kBags}, 10, 4);
    problem.batch.fields[0].offsets.assign(11, 0);
    problem.batch.fields[0].keys.clear();
    problem.index[0].clear();
    const auto built = Build<double>("embedding", problem, {{"dim", int64_t{4}}, {"pooling", pooling}});
    const auto rows = Rows<double>(problem, built.dim);
    const auto view = problem.View(rows, built.dim);
    Pass<double> run;
    run.Forward(*built.op, problem, view);
    EXPECT_EQ(run.out, std::vector<double>(40, 0.0));
    EXPECT_EQ(run.Backward(*built.op, problem, view, OutGrad(*built.op, problem), {{0, 4}}),
              std::vector<double>(rows.size(), 0.0));
  }
}

// Two keys with equal rows, and one key twice: the first occurrence takes the gradient.
TEST(EmbeddingOpTest, MaxGivesTiesToTheFirstOccurrence) {
  Problem problem({kBags}, 1, 3);
  problem.batch.fields[0].offsets = {0, 4};
  problem.batch.fields[0].keys = {2, 1, 1, 2};
  problem.index[0] = {2, 1, 1, 2};
  const auto built = Build<double>("embedding", problem, {{"dim", int64_t{1}}, {"pooling", std::string("max")}});
  const std::vector<double> rows = {0, 0, 9, 0, 0, 5, 0, 0, 5};
  const auto view = problem.View(rows, built.dim);
  Pass<double> run;
  run.Forward(*built.op, problem, view);
  EXPECT_EQ(run.out, std::vector<double>{5.0});
  EXPECT_EQ(run.Backward(*built.op, problem, view, {2.0}, {{0, 3}}),
            (std::vector<double>{0, 0, 0, 0, 0, 0, 0, 0, 2.0}));
}

TEST(SparseOpTest, SettingsThatDoNotFitAreRefused) {
  const Problem problem({kOneHot, kBags}, 2, 3);
  BuildContext context;
  context.schema = &problem.schema;
  context.name = "op";
  context.request_columns = [](const std::string&, const std::vector<int>&, int64_t, const std::string&,
                               ColumnStart) -> Result<int64_t> { return int64_t{0}; };
  const auto refusal = [&](BlockConfig config) {
    auto made = FindBlockType(config.type)->make_sparse_f32(*config.options, context);
    return made.ok() ? std::string("accepted") : made.status().message();
  };
  const auto block = [](const OptionList& options) { return MakeBlock("op", "embedding", {}, options); };
  EXPECT_NE(refusal(block({{"fields", std::vector<std::string>{"nope"}}})).find("`nope`; the features give f0, f1"),
            std::string::npos);
  EXPECT_NE(refusal(block({{"fields", std::vector<std::string>{"f0", "f0"}}})).find("named twice"), std::string::npos);
  BlockConfig mixed = block({});
  static_cast<EmbeddingOptions&>(*mixed.options).per_field = {{"f1", {"max"}}};
  EXPECT_NE(refusal(mixed).find("does not mix"), std::string::npos);
  BlockConfig absent = block({{"fields", std::vector<std::string>{"f0"}}});
  static_cast<EmbeddingOptions&>(*absent.options).per_field = {{"f1", {"mean"}}};
  EXPECT_NE(refusal(absent).find("not among its fields"), std::string::npos);
  const data::Schema none;
  context.schema = &none;
  EXPECT_NE(refusal(block({})).find("the features have none"), std::string::npos);
}

#if defined(__x86_64__)
// Every instruction set gives the same bits, whether or not it is known that no row is missing.
TEST(SparseKernelsTest, InstructionSetsAgreeBitForBit) {
  constexpr int64_t kSamples = 700;  // bags of more occurrences than are listed at once
  const Problem problem(kAllKinds, kSamples, 7);
  for (const int64_t width : {1, 16, 19, 33}) {
    const int64_t dim = width + 1;
    std::vector<float> rows(problem.num_rows * dim);
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(Value(3, static_cast<int64_t>(i)));
    for (size_t f = 0; f < problem.index.size(); ++f) {
      const auto& column = problem.batch.fields[f];
      FieldSlice<float> slice{.rows = rows.data(),
                              .dim = dim,
                              .index = problem.index[f].data(),
                              .offsets = column.one_hot() ? nullptr : column.offsets.data(),
                              .weights = column.weights.empty() ? nullptr : column.weights.data(),
                              .nnz = column.nnz(),
                              .pooling = Pooling::kSqrtn,
                              .whole = true,
                              .row_range = {0, problem.num_rows}};
      const Range all{0, kSamples};
      const auto run = [&](auto pool, auto add) {
        std::vector<float> out(kSamples * width), q(kSamples), grads(rows.size());
        pool(slice, int64_t{1}, width, all, false, out.data(), width, PairTerm<float>{0, q.data(), 1});
        add(slice, int64_t{1}, width, all, Range{0, problem.num_rows}, out.data(), width,
            PairTerm<const float>{0, q.data(), 1}, grads.data());
        out.insert(out.end(), q.begin(), q.end());
        out.insert(out.end(), grads.begin(), grads.end());
        return out;
      };
      const auto expected = run(plain::PoolField<float>, plain::AddFieldGrad<float>);
      for (const bool whole : {true, false}) {
        slice.whole = whole;
        EXPECT_EQ(run(plain::PoolField<float>, plain::AddFieldGrad<float>), expected);
        if (BestIsa() != Isa::kPlain) {
          EXPECT_EQ(run(avx2::PoolField<float>, avx2::AddFieldGrad<float>), expected);
        }
        if (BestIsa() == Isa::kAvx512) {
          EXPECT_EQ(run(avx512::PoolField<float>, avx512::AddFieldGrad<float>), expected);
        }
      }
    }
  }
}
#endif

}  // namespace
}  // namespace sluice::nn
