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
  const double forward =
      Time([&] { SLUICE_DISPATCH(DotPairs<float>)
                 (x, out.data(), ld, scratch.data(), pointers.data()); });
  const double backward =
      Time([&] { SLUICE_DISPATCH(DotPairsGrad<float>)
                 (x, out.data(), ld, grad, scratch.data(), pointers.data()); });
  const double flops = 2.0 * static_cast<double>(pairs * dim * kRows);
  std::printf("%-22s forward %6.3f us/sample %6.1f GFLOP/s   backward %6.3f us/sample %6.1f GFLOP/s\n", name,
              forward / kRows * 1e6, flops / forward * 1e-9, backward / kRows * 1e6, 2 * flops / backward * 1e-9);
}

void Pooling(const char* name, int64_t fields, int64_t keys, int64_t dim, int64_t table_dim, int64_t batch) {
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
      index[f].push_back(static_cast<int32_t>(f * unique + static_cast<int64_t>(u * u * static_cast<double>(unique))));
    }
  }
  const auto slice = [&](int64_t f) {
    return nn::FieldSlice<float>{.rows = rows.data(),
                                 .dim = table_dim,
                                 .index = index[f].data(),
                                 .offsets = keys == 1 ? nullptr : offsets[f].data(),
                                 .weights = nullptr,
                                 .nnz = batch * keys,
                                 .pooling = nn::Pooling::kSum};
  };
  constexpr int64_t kTile = 64;
  const double forward = Time([&] {
    for (int64_t begin = 0; begin < batch; begin += kTile)
      for (int64_t f = 0; f < fields; ++f) SLUICE_DISPATCH(PoolField<float>)
    (slice(f), 0, dim, {begin, std::min(begin + kTile, batch)}, false, out.data() + (begin * fields + f) * dim,
     fields * dim, {});
  });
  const double backward = Time([&] {
    for (int64_t f = 0; f < fields; ++f) SLUICE_DISPATCH(AddFieldGrad<float>)
    (slice(f), 0, dim, {0, batch}, {0, fields * unique}, out.data() + f * dim, fields * dim, {}, grads.data());
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
  sluice::Pooling("K 26 x 1 x 16", 26, 1, 16, 16, 2048);
  sluice::Pooling("M 26 x 1 x 128", 26, 1, 128, 128, 2048);
  sluice::Pooling("D 39 x 1 x 16 of 17", 39, 1, 16, 17, 4096);
  sluice::Pooling("H 50 x 20 x 16 of 17", 50, 20, 16, 17, 4096);
  return 0;
}
