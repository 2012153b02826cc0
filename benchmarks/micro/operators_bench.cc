// Cost per sample of what stands between the rows and the products, one thread: pooling, row gradients, dot
// interaction. Verified by the unit tests of src/nn; the same kernels run here on the shapes of workloads K, M, D and
// H.
//
//   operators_bench

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/chunks.h"
#include "base/rng.h"
#include "nn/interaction_kernels.h"
#include "nn/sparse_op_kernels.h"

namespace sluice {
namespace {

// Median seconds of one call.
double Time(const std::function<void()>& body) {
  std::vector<double> times;
  for (int round = 0; round < 15; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void Fill(AlignedBuffer<float>& x) {
  const CounterRng rng(1, 1);
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.Uniform(static_cast<uint64_t>(i)) - 0.5);
}

void Interaction(const char* name, int64_t fields, int64_t dim) {
  constexpr int64_t kRows = 128;  // a piece that stays in the second-level cache
  const int64_t vectors = fields + 1, pairs = vectors * (vectors - 1) / 2, ld = pairs + dim;
  AlignedBuffer<float> bottom(kRows * dim), rows(kRows * fields * dim), out(kRows * ld), grad_bottom(kRows * dim),
      grad_rows(kRows * fields * dim), scratch(nn::InteractionScratch(vectors, dim));
  std::vector<const float*> pointers(vectors + 8);
  Fill(bottom);
  Fill(rows);
  const nn::VectorEdges<const float> x{
      .first = {bottom.data(), dim, 1}, .second = {rows.data(), fields * dim, fields}, .width = dim, .rows = kRows};
  const nn::VectorEdges<float> grad{.first = {grad_bottom.data(), dim, 1},
                                    .second = {grad_rows.data(), fields * dim, fields},
                                    .width = dim,
                                    .rows = kRows};
  const double forward = Time([&] {
    SLUICE_DISPATCH(DotPairs<float>)
    (x, out.data(), ld, scratch.data(), pointers.data());
  });
  const double backward = Time([&] {
    SLUICE_DISPATCH(DotPairsGrad<float>)
    (x, out.data(), ld, grad, scratch.data(), pointers.data());
  });
  const double flops = 2.0 * static_cast<double>(pairs * dim * kRows);
  std::printf("%-22s forward %6.3f us/sample %6.1f GFLOP/s   backward %6.3f us/sample %6.1f GFLOP/s\n", name,
              forward / kRows * 1e6, flops / forward * 1e-9, backward / kRows * 1e6, 2 * flops / backward * 1e-9);
}

// `whole`: every row is known to live here. Otherwise half of the rows live with another owner, as among two ranks.
void Pooling(const char* name, int64_t fields, int64_t keys, int64_t dim, int64_t table_dim, int64_t batch,
             nn::Pooling pooling, bool whole) {
  const int64_t unique = std::max<int64_t>(1, batch * keys / 4);
  AlignedBuffer<float> rows(fields * unique * table_dim), out(batch * fields * dim), grads(rows.size());
  Fill(rows);
  Fill(out);
  grads.Zero();
  std::vector<std::vector<int32_t>> index(fields), offsets(fields);
  const CounterRng rng(3, 3);
  uint64_t n = 0;
  for (int64_t f = 0; f < fields; ++f) {
    for (int64_t i = 0; i <= batch; ++i) offsets[f].push_back(static_cast<int32_t>(i * keys));
    for (int64_t j = 0; j < batch * keys; ++j) {
      const double u = rng.Uniform(n++);
      const int64_t row = f * unique + static_cast<int64_t>(u * u * static_cast<double>(unique));
      index[f].push_back(whole || Mix64(static_cast<uint64_t>(row)) % 2 == 0 ? static_cast<int32_t>(row) : -1);
    }
  }
  const auto slice = [&](int64_t f) {
    return nn::FieldSlice<float>{.rows = rows.data(),
                                 .dim = table_dim,
                                 .index = index[f].data(),
                                 .offsets = keys == 1 ? nullptr : offsets[f].data(),
                                 .weights = nullptr,
                                 .nnz = batch * keys,
                                 .pooling = pooling,
                                 .whole = whole,
                                 .row_range = {f * unique, (f + 1) * unique}};
  };
  constexpr int64_t kTile = 64;
  const Range all_rows{0, fields * unique};
  const int64_t ld = fields * dim;
  const bool max = pooling == nn::Pooling::kMax;
  const double forward = Time([&] {
    for (int64_t begin = 0; begin < batch; begin += kTile) {
      const Range samples{begin, std::min(begin + kTile, batch)};
      for (int64_t f = 0; f < fields; ++f) {
        float* to = out.data() + (begin * fields + f) * dim;
        if (max)
          SLUICE_DISPATCH(MaxField<float>)(slice(f), 0, dim, samples, to, ld);
        else
          SLUICE_DISPATCH(PoolField<float>)(slice(f), 0, dim, samples, false, to, ld, {});
      }
    }
  });
  AlignedBuffer<float> grad(out.size());
  Fill(grad);
  const double backward = Time([&] {
    for (int64_t f = 0; f < fields; ++f) {
      const float* of_field = grad.data() + f * dim;
      if (max) SLUICE_DISPATCH(AddMaxGrad<float>)
      (slice(f), 0, dim, {0, batch}, all_rows, out.data() + f * dim, ld, of_field, ld, grads.data());
      else SLUICE_DISPATCH(AddFieldGrad<float>)(slice(f), 0, dim, {0, batch}, all_rows, of_field, ld, {}, grads.data());
    }
  });
  const double occurrences = static_cast<double>(batch * fields * keys);
  std::printf("%-22s pooling %6.2f ns/key %6.3f us/sample   row gradients %6.2f ns/key %6.3f us/sample\n", name,
              forward / occurrences * 1e9, forward / static_cast<double>(batch) * 1e6, backward / occurrences * 1e9,
              backward / static_cast<double>(batch) * 1e6);
}

}  // namespace
}  // namespace sluice

int main() {
  std::printf("%s, kernels for %s\n", sluice::ProcessorName(), sluice::IsaName(sluice::BestIsa()));
  sluice::Interaction("K interaction 27 x 16", 26, 16);
  sluice::Interaction("M interaction 27 x 128", 26, 128);
  for (const bool whole : {true, false}) {
    std::printf("%s\n", whole ? "all rows here" : "half of the rows with another owner");
    sluice::Pooling("K 26 x 1 x 16", 26, 1, 16, 16, 2048, sluice::nn::Pooling::kSum, whole);
    sluice::Pooling("M 26 x 1 x 128", 26, 1, 128, 128, 2048, sluice::nn::Pooling::kSum, whole);
    sluice::Pooling("D 39 x 1 x 16 of 17", 39, 1, 16, 17, 4096, sluice::nn::Pooling::kSum, whole);
    sluice::Pooling("H 50 x 20 x 16 of 17", 50, 20, 16, 17, 4096, sluice::nn::Pooling::kSum, whole);
    sluice::Pooling("H maximum", 50, 20, 16, 17, 4096, sluice::nn::Pooling::kMax, whole);
  }
  return 0;
}
