#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "comm/communicator.h"
#include "nn/net.h"
#include "placement/column_routes.h"
#include "placement/pairwise_buffers.h"

namespace sluice::placement {

// Brings partials from the ranks that own rows to the ranks with the samples, and the gradients of partials back, where
// the batch is divided. Source: DES (Rong et al., SIGIR 2020), dense part B; docs/algorithms/des.md.
// Shapes       "global" [B, all columns] of all samples of the global batch; "local" [b, all columns] of this rank's.
// Wire         B samples of which b_r are rank r's, s bytes per number (2 where `wire` is bf16), counted as
//              Traffic::kPartials. With c sums and m maxima among routes.reduced:
//                Forward    c: reduce-scatter, (N - 1) B c s in all; m: all-reduce, 2 (N - 1) B m s
//                Backward   all-gather, (N - 1) B (c + m) s
//              and each way (B - b_r) w s for the w columns of routes.from[r]: all-to-all.
// Distributed  collective.
// Errors       those of the communicator.
template <class T>
class PartialExchange {
 public:
  PartialExchange(ColumnRoutes sums, ColumnRoutes maxima, comm::Communicator* comm, comm::Wire wire);

  // From every rank's global partials the local ones. Maxima that are reduced also become those of all ranks in
  // `global`, since the gradient asks which rows attain them. Where rows travel, `local` holds the partials of the
  // pulled rows (zeros and -infinity where they add nothing), and those of the owners are added.
  Status Forward(int64_t global_batch, nn::PartialColumns<T> global, ThreadPool& pool, nn::PartialColumns<T> local);
  // From the local gradients the global ones, of the columns that this rank adds to.
  Status Backward(int64_t global_batch, nn::PartialColumns<T> local, ThreadPool& pool, nn::PartialColumns<T> global);

 private:
  Status ReduceSums(int64_t global_batch, T* global, ThreadPool& pool, T* local);
  Status ReduceMaxima(int64_t global_batch, T* global, ThreadPool& pool, T* local);
  Status GatherGradients(int64_t global_batch, const ColumnRoutes& routes, T* local, ThreadPool& pool, T* global);
  // Columns held by one rank each: samples out to the ranks that have them, or back.
  Status SendSamples(int64_t global_batch, nn::PartialColumns<T> global, ThreadPool& pool, nn::PartialColumns<T> local);
  Status ReturnSamples(int64_t global_batch, nn::PartialColumns<T> local, ThreadPool& pool,
                       nn::PartialColumns<T> global);
  Range SamplesOf(int64_t global_batch, int rank) const;
  std::vector<int64_t> Counts(int64_t global_batch, int64_t columns) const;
  // Columns that rank r alone holds, sums and maxima together.
  int64_t WidthFrom(int rank) const {
    return Width(sums_.from[static_cast<size_t>(rank)]) + Width(maxima_.from[static_cast<size_t>(rank)]);
  }

  ColumnRoutes sums_, maxima_;
  bool pulled_adds_ = false;  // some column is both reduced and pulled
  bool any_from_ = false;
  comm::Communicator* comm_;
  comm::Wire wire_;
  AlignedBuffer<T> packed_, reduced_;
  PairwiseBuffers<T> messages_;
};

}  // namespace sluice::placement
