#include "train/roofline.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <memory>

#include <oneapi/dnnl/dnnl.hpp>

#include "base/aligned_buffer.h"
#include "base/rng.h"
#include "train/stopwatch.h"

namespace sluice::train {
namespace {

constexpr double kMinSeconds = 0.02;   // of one timing
constexpr int kRepeats = 3;            // best of

using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;

// One thread's own copy of a product [m, k] x [k, n].
class Product {
 public:
  Product(int64_t m, int64_t k, int64_t n, Type operands, Type result, Tag layout) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const dnnl::memory::desc a({m, k}, operands, layout), b({k, n}, operands, layout), c({m, n}, result, layout);
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc desc(engine_, a, b, c);
#else
    const dnnl::matmul::primitive_desc desc(dnnl::matmul::desc(a, b, c), engine_);
#endif
    product_ = dnnl::matmul(desc);
    a_ = Make(desc.src_desc());
    b_ = Make(desc.weights_desc());
    c_ = Make(desc.dst_desc());
  }

  void Run() {
    product_.execute(stream_, {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}});
    stream_.wait();
  }

 private:
  dnnl::memory Make(const dnnl::memory::desc& desc) {
    dnnl::memory memory(desc, engine_);
    std::memset(memory.get_data_handle(), 0, desc.get_size());
    return memory;
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul product_;
  dnnl::memory a_, b_, c_;
};

// Seconds per product when every thread of the pool runs its own; infinity where oneDNN does not know it.
double SecondsOf(int64_t m, int64_t k, int64_t n, Type operands, Type result, Tag layout, ThreadPool& pool) {
  std::vector<std::unique_ptr<Product>> products(static_cast<size_t>(pool.num_threads()));
  try {
    pool.Run([&](int thread) {
      products[thread] = std::make_unique<Product>(m, k, n, operands, result, layout);
      products[thread]->Run();
    });
  } catch (const dnnl::error&) {
    return std::numeric_limits<double>::infinity();
  }
  int64_t times = 1;
  double best = std::numeric_limits<double>::infinity();
  for (int repeat = 0; repeat < kRepeats;) {
    Stopwatch watch;
    pool.Run([&](int thread) {
      for (int64_t i = 0; i < times; ++i) products[thread]->Run();
    });
    const double seconds = watch.Elapsed();
    if (seconds < kMinSeconds && times < (1 << 20)) {
      times *= 2;
      continue;
    }
    best = std::min(best, seconds / static_cast<double>(times));
    ++repeat;
  }
  return best;
}

// Best seconds per sample of one product over batch pieces and layouts; `shape` maps a piece's rows to (m, k, n).
template <class Shape>
double BestPerSample(const std::vector<int64_t>& pieces, Type operands, Type result, ThreadPool& pool, const Shape& shape) {
  double best = std::numeric_limits<double>::infinity();
  for (int64_t rows : pieces) {
    for (Tag layout : {Tag::ab, Tag::any}) {
      const auto [m, k, n] = shape(rows);
      const double seconds = SecondsOf(m, k, n, operands, result, layout, pool);
      best = std::min(best, seconds / (static_cast<double>(rows) * pool.num_threads()));
    }
  }
  return best;
}

}  // namespace

double MeasureGemm(const std::vector<GemmShape>& shapes, int64_t batch_size, bool bf16, ThreadPool& pool) {
  struct Dims {
    int64_t m, k, n;
  };
  const int64_t whole = std::max<int64_t>(1, batch_size / pool.num_threads());
  std::vector<int64_t> pieces = {whole};
  for (int64_t rows : {256, 1024})
    if (rows < whole) pieces.push_back(rows);
  const Type operands = bf16 ? Type::bf16 : Type::f32;
  double flops = 0, seconds = 0;
  for (const auto& [inputs, outputs] : shapes) {
    const int64_t in = inputs, out = outputs;
    seconds += BestPerSample(pieces, operands, operands, pool, [=](int64_t rows) { return Dims{rows, in, out}; });
    seconds += BestPerSample(pieces, operands, operands, pool, [=](int64_t rows) { return Dims{rows, out, in}; });
    seconds += BestPerSample(pieces, operands, Type::f32, pool, [=](int64_t rows) { return Dims{in, rows, out}; });
    flops += 6.0 * static_cast<double>(in) * static_cast<double>(out);
  }
  return seconds > 0 ? flops / seconds : 0;
}

double MeasureRandomRows(int64_t stride_bytes, int64_t memory_bytes, ThreadPool& pool) {
  constexpr int64_t kAhead = 16, kLine = 64;
  const int64_t words = std::max<int64_t>(1, stride_bytes / 8);
  const int64_t rows = std::max<int64_t>(1024, memory_bytes / (words * 8));
  AlignedBuffer<uint64_t> memory(rows * words);
  pool.ForParts(rows * words, [&](Range part, int) {
    std::memset(memory.data() + part.begin, 1, static_cast<size_t>(part.size()) * sizeof(uint64_t));
  });
  const int64_t reads = std::max<int64_t>(int64_t{1} << 18, (int64_t{1} << 28) / (words * 8));
  std::vector<int64_t> places(static_cast<size_t>(reads + kAhead));
  std::atomic<uint64_t> sink{0};
  const CounterRng rng(1, 2);
  for (size_t i = 0; i < places.size(); ++i)
    places[i] = static_cast<int64_t>(rng.Below(i, static_cast<uint64_t>(rows))) * words;
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    Stopwatch watch;
    pool.ForParts(reads, [&](Range part, int) {
      uint64_t sum = 0;
      for (int64_t i = part.begin; i < part.end; ++i) {
        const char* ahead = reinterpret_cast<const char*>(memory.data() + places[i + kAhead]);
        for (int64_t byte = 0; byte < words * 8; byte += kLine) __builtin_prefetch(ahead + byte);
        const uint64_t* row = memory.data() + places[i];
        for (int64_t w = 0; w < words; ++w) sum += row[w];
      }
      sink.fetch_add(sum, std::memory_order_relaxed);
    });
    best = std::max(best, static_cast<double>(reads) / watch.Elapsed());
  }
  return sink.load() == 0 ? 0 : best;
}

double MeasureStream(ThreadPool& pool) {
  constexpr int64_t kFloats = int64_t{1} << 26;
  AlignedBuffer<float> a(kFloats), b(kFloats);
  pool.ForParts(kFloats, [&](Range part, int) {
    std::fill(a.data() + part.begin, a.data() + part.end, 1.0f);
    std::fill(b.data() + part.begin, b.data() + part.end, 2.0f);
  });
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    Stopwatch watch;
    pool.ForParts(kFloats, [&](Range part, int) {
      float* x = a.data();
      const float* y = b.data();
      for (int64_t i = part.begin; i < part.end; ++i) x[i] = 0.5f * x[i] + y[i];
    });
    best = std::max(best, 3.0 * sizeof(float) * static_cast<double>(kFloats) / watch.Elapsed());
  }
  return best;
}

}  // namespace sluice::train
