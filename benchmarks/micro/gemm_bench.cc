// Rate of the products of DLRM's layers through the engine's wrapper, beside the best that raw oneDNN reaches at the
// same shape in any layout (plain, weights in oneDNN's own layout, all three so), one thread, pieces of `rows` samples.
//
//   gemm_bench [rows=1024]
//
// Prints GFLOP/s: best of many runs each. The wrapper's result is checked against plain loops before it is timed.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <unordered_map>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "base/rng.h"
#include "base/simd.h"
#include "base/thread_pool.h"
#include "nn/activation.h"
#include "nn/gemm.h"

namespace sluice {
namespace {

using nn::Matrix;
using Clock = std::chrono::steady_clock;

// The shortest of the runs that fit into a tenth of a second, in seconds.
template <class F>
double BestSeconds(const F& run) {
  double best = 1e30;
  const auto end = Clock::now() + std::chrono::milliseconds(100);
  for (int i = 0; i < 4 || Clock::now() < end; ++i) {
    const auto begin = Clock::now();
    run();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

struct Shape {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
  double flops() const { return 2.0 * static_cast<double>(m * n * k); }
};

using DataType = dnnl::memory::data_type;

// Best rate of raw oneDNN: plain layouts, or any for weights, or any for all.
double RawRate(const Shape& s, DataType in, DataType out) {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  double best = 0;
  for (int mode = 0; mode < 3; ++mode) {
    const auto describe = [&](int64_t rows, int64_t cols, bool transposed, DataType type, bool any) {
      if (any) return dnnl::memory::desc({rows, cols}, type, dnnl::memory::format_tag::any);
      return dnnl::memory::desc({rows, cols}, type,
                                transposed ? dnnl::memory::dims{1, rows} : dnnl::memory::dims{cols, 1});
    };
    const auto a = describe(s.m, s.k, s.transpose_a, in, mode == 2);
    const auto b = describe(s.k, s.n, s.transpose_b, in, mode >= 1);
    const auto c = describe(s.m, s.n, false, out, mode == 2);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc description(engine, a, b, c, attributes);
#else
    const dnnl::matmul::primitive_desc description({a, b, c}, attributes, engine);
#endif
    const dnnl::matmul product(description);
    std::unordered_map<int, dnnl::memory> args;
    const auto add = [&](int key, const dnnl::memory::desc& desc) {
      dnnl::memory memory(desc, engine);
      std::fill_n(static_cast<char*>(memory.get_data_handle()), desc.get_size(), 0);
      args.emplace(key, memory);
    };
    add(DNNL_ARG_SRC, description.src_desc());
    add(DNNL_ARG_WEIGHTS, description.weights_desc());
    add(DNNL_ARG_DST, description.dst_desc());
    add(DNNL_ARG_SCRATCHPAD, description.scratchpad_desc());
    best = std::max(best, s.flops() / BestSeconds([&] { product.execute(stream, args); }) * 1e-9);
  }
  return best;
}

template <class A>
void Fill(uint64_t stream, AlignedBuffer<A>* buffer) {
  const CounterRng rng(1, stream);
  for (int64_t i = 0; i < buffer->size(); ++i) {
    const auto value = static_cast<float>(static_cast<int64_t>(rng.Below(static_cast<uint64_t>(i), 9)) - 4);
    if constexpr (std::is_same_v<A, Bf16>) {
      (*buffer)[i] = ToBf16(value);
    } else {
      (*buffer)[i] = value;
    }
  }
}

// Rate of the wrapper with the strides that the engine uses.
template <class A, class C>
double WrapperRate(const Shape& s, bool accumulate, bool relu) {
  const auto view = [](int64_t rows, int64_t cols, AlignedBuffer<A>* buffer) {
    buffer->Resize(rows * nn::RowStride<A>(cols));
    return Matrix<A>{buffer->data(), rows, cols, nn::RowStride<A>(cols)};
  };
  AlignedBuffer<A> a_memory, b_memory;
  const Matrix<A> a = s.transpose_a ? view(s.k, s.m, &a_memory) : view(s.m, s.k, &a_memory);
  const Matrix<A> b = s.transpose_b ? view(s.n, s.k, &b_memory) : view(s.k, s.n, &b_memory);
  Fill(1, &a_memory);
  Fill(2, &b_memory);
  const int64_t ldc = s.transpose_a ? s.n : nn::RowStride<C>(s.n);  // weight gradients are contiguous
  AlignedBuffer<C> c_memory(s.m * ldc);
  Fill(3, &c_memory);
  const Matrix<C> c{c_memory.data(), s.m, s.n, ldc};
  AlignedBuffer<float> bias(s.n);
  bias.Zero();
  const auto run = [&] {
    nn::Gemm<A>(a, b, c,
                {.transpose_a = s.transpose_a,
                 .transpose_b = s.transpose_b,
                 .bias = relu ? bias.data() : nullptr,
                 .relu = relu,
                 .accumulate = accumulate});
  };
  if constexpr (std::is_same_v<A, float>) {
    if (!accumulate && !relu) {
      run();
      float sum = 0;
      for (int64_t p = 0; p < s.k; ++p)
        sum += (s.transpose_a ? a.row(p)[1 % s.m] : a.row(1 % s.m)[p]) * (s.transpose_b ? b.row(0)[p] : b.row(p)[0]);
      SLUICE_CHECK(sum == c.row(1 % s.m)[0], "the product gives {}, plain loops {}", c.row(1 % s.m)[0], sum);
    }
  }
  return s.flops() / BestSeconds(run) * 1e-9;
}

template <class A>
void Report(const char* name, int64_t rows, int64_t inputs, int64_t outputs) {
  const DataType type = std::is_same_v<A, Bf16> ? DataType::bf16 : DataType::f32;
  const Shape forward{rows, outputs, inputs, false, false};
  const Shape input_grad{rows, inputs, outputs, false, true};
  const Shape weight_grad{inputs, outputs, rows, true, false};
  fmt::print(
      "{:>4} {:>5} x {:<5} forward {:4.0f} of {:4.0f}   input gradient {:4.0f} of {:4.0f}   weight gradient "
      "{:4.0f} of {:4.0f}\n",
      name, inputs, outputs, WrapperRate<A, A>(forward, false, true), RawRate(forward, type, type),
      WrapperRate<A, A>(input_grad, false, false), RawRate(input_grad, type, type),
      WrapperRate<A, float>(weight_grad, true, false), RawRate(weight_grad, type, DataType::f32));
}

void Main(int64_t rows) {
  fmt::print("{}, oneDNN {}, one thread, {} rows, GFLOP/s of the wrapper (bias and relu, sums) of the best raw rate\n",
             ProcessorName(), nn::GemmLibraryVersion(), rows);
  ThreadPool pool(1);
  pool.Run([&](int) {
    for (const auto& [inputs, outputs] : std::vector<std::pair<int64_t, int64_t>>{
             {13, 512}, {512, 256}, {256, 64}, {64, 16}, {367, 512}, {256, 1}, {256, 128}, {479, 1024}, {1024, 1024}}) {
      Report<float>("fp32", rows, inputs, outputs);
      Report<Bf16>("bf16", rows, inputs, outputs);
    }
  });
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { sluice::Main(argc > 1 ? std::atoll(argv[1]) : 1024); }
