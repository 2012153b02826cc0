// Rate of DLRM (workloads K and M) and of its multilayer perceptrons alone through the net executor: forward, loss and
// backward, without tables. GFLOP/s count the products alone, so what it lacks to gemm_bench's rates is the cost
// of everything else: masks, bias gradients, conversions, pooling, interaction,
// loss, the sum over threads.
//
//   mlp_bench

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "base/rng.h"
#include "base/simd.h"
#include "base/thread_pool.h"
#include "nn/block_builder.h"
#include "nn/net.h"
#include "nn/presets.h"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

data::Schema MakeSchema(int64_t num_dense, int num_fields) {
  data::Schema schema;
  for (int64_t d = 0; d < num_dense; ++d) schema.dense.push_back("d" + std::to_string(d));
  for (int f = 0; f < num_fields; ++f) {
    schema.fields.push_back({.name = "f" + std::to_string(f), .vocabulary = "f" + std::to_string(f)});
  }
  schema.labels = {"label"};
  return schema;
}

nn::NetSpec MlpSpec(const std::vector<int64_t>& bottom, const std::vector<int64_t>& top) {
  nn::NetSpec spec;
  std::string input = "dense";
  if (!bottom.empty()) {
    spec.blocks.push_back(nn::MakeBlock("bottom", "mlp", {input}, {{"layers", bottom}}));
    input = "bottom";
  }
  spec.blocks.push_back(nn::MakeBlock("top", "mlp", {input}, {{"layers", top}, {"linear_output", true}}));
  spec.outputs = {"top"};
  return spec;
}

nn::NetSpec DlrmSpec(int64_t dim, const std::vector<int64_t>& bottom, const std::vector<int64_t>& top,
                     const data::Schema& schema) {
  nn::ModelConfig config;
  config.preset = "dlrm";
  config.dim = dim;
  config.bottom_mlp = bottom;
  config.top_mlp = top;
  return nn::ExpandModel(config, schema, nn::Precision::kFp32, false).value();
}

// Row gradients are left out: which rows they go to is the table's business.
void Report(const char* name, nn::NetSpec spec, const data::Schema& schema, nn::Precision precision, int threads,
            int64_t batch_size) {
  spec.precision = precision;
  const auto net = nn::Net<float>::Build(spec, schema).value();
  const auto ws = net->MakeWorkspace();
  std::vector<float> params(static_cast<size_t>(net->params().size())), buffers(1);
  net->params().Initialise(1, params.data());
  data::Batch batch;
  batch.size = batch_size;
  const CounterRng rng(1, 2);
  for (int64_t i = 0; i < batch_size * schema.num_dense(); ++i)
    batch.dense.push_back(static_cast<float>(rng.Normal(static_cast<uint64_t>(i))));
  for (int64_t i = 0; i < batch_size; ++i) batch.labels.push_back(static_cast<float>(i % 2));
  // Power-law keys: two thirds of the occurrences or so have a row of their own.
  std::vector<std::vector<int32_t>> index(schema.fields.size());
  batch.fields.resize(schema.fields.size());
  const int64_t rows_per_field = batch_size * 2 / 3;
  for (size_t f = 0; f < schema.fields.size(); ++f) {
    const CounterRng keys(2, f);
    for (int64_t i = 0; i < batch_size; ++i) {
      const double u = keys.Uniform(static_cast<uint64_t>(i));
      index[f].push_back(static_cast<int32_t>(static_cast<int64_t>(f) * rows_per_field +
                                              static_cast<int64_t>(u * u * static_cast<double>(rows_per_field))));
      batch.fields[f].keys.push_back(static_cast<Key>(index[f].back()));
    }
  }
  std::vector<std::vector<float>> values;
  std::vector<nn::RowsView<float>> rows;
  for (const auto& table : net->tables()) {
    const int64_t num_rows = rows_per_field * schema.num_fields();
    values.emplace_back(static_cast<size_t>(num_rows * table.dim), 0.01f);
    nn::RowsView<float> view;
    view.rows = values.back().data();
    view.num_rows = num_rows;
    view.dim = table.dim;
    for (const auto& column : index) view.index.push_back(column.data());
    rows.push_back(view);
  }
  ThreadPool pool(threads);
  double best = 1e30;
  const auto end = Clock::now() + std::chrono::milliseconds(800);
  for (int64_t step = 1; step < 5 || Clock::now() < end; ++step) {
    const auto begin = Clock::now();
    net->TrainStep(batch, rows, params.data(), buffers.data(), {.step = step, .batch_size = batch_size}, pool,
                   ws.get());
    best = std::min(best, Seconds(begin));
  }
  const double flops = net->flops_per_sample() * static_cast<double>(batch_size);
  fmt::print("{:<10} {} threads, batch {:>5}: {:6.2f} ms, {:6.1f} GFLOP/s, {:.1f} k samples/s\n", name, threads,
             batch_size, best * 1e3, flops / best * 1e-9, static_cast<double>(batch_size) / best * 1e-3);
}

void Main() {
  fmt::print("{}\n", ProcessorName());
  for (const auto precision : {nn::Precision::kFp32, nn::Precision::kBf16}) {
    fmt::print("{}\n", precision == nn::Precision::kFp32 ? "fp32" : "bf16");
    for (const int threads : {1, 2}) {
      for (const int64_t batch : {1024, 2048, 8192}) {
        Report("K bottom", MlpSpec({512, 256, 64}, {16, 1}), MakeSchema(13, 0), precision, threads, batch);
        Report("K top", MlpSpec({}, {512, 256, 1}), MakeSchema(367, 0), precision, threads, batch);
        Report("K", DlrmSpec(16, {512, 256, 64, 16}, {512, 256}, MakeSchema(13, 26)), MakeSchema(13, 26), precision,
               threads, batch);
        Report("M", DlrmSpec(128, {512, 256, 128}, {1024, 1024, 512, 256}, MakeSchema(13, 26)), MakeSchema(13, 26),
               precision, threads, batch);
      }
    }
  }
}

}  // namespace
}  // namespace sluice

int main() { sluice::Main(); }
