#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"

namespace sluice::train {

// A dense product of a model: [rows, inputs] x [inputs, outputs], with both of its gradients.
struct GemmShape {
  int64_t inputs = 0, outputs = 0;
};

// What this machine can do, measured with nothing of the engine between: the roofline of `sluice bench`.
struct MachineRates {
  double gemm_flops_per_s = 0;      // at the model's shapes, their products and gradients weighted by their work
  double random_rows_per_s = 0;     // reads of whole rows at random places
  double stream_bytes_per_s = 0;    // read + written, a = s * a + b over arrays far larger than the caches
};

// oneDNN called directly, one single-threaded primitive per thread of the pool, the best of several batch pieces and of
// plain and free layouts for each product. bf16: bf16 operands, fp32 accumulation. 0 without shapes.
double MeasureGemm(const std::vector<GemmShape>& shapes, int64_t batch_size, bool bf16, ThreadPool& pool);

// Rows of `stride_bytes` read whole at random places of `memory_bytes`, prefetched; all threads of the pool.
double MeasureRandomRows(int64_t stride_bytes, int64_t memory_bytes, ThreadPool& pool);

double MeasureStream(ThreadPool& pool);

}  // namespace sluice::train
