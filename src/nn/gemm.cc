#include "nn/gemm.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "base/aligned_buffer.h"
#include "base/hash.h"
#include "base/status.h"
#include "nn/activation.h"

namespace sluice::nn {
namespace {

using DataType = dnnl::memory::data_type;

template <class A>
constexpr DataType TypeOf() {
  return std::is_same_v<A, Bf16> ? DataType::bf16 : DataType::f32;
}

struct Key {
  int64_t m, n, k, lda, ldb, ldc;
  int32_t in_type, out_type;
  int32_t transpose_a, transpose_b, bias, relu, accumulate, unused;
  bool operator==(const Key& other) const { return std::memcmp(this, &other, sizeof(Key)) == 0; }
};
static_assert(std::has_unique_object_representations_v<Key>);

struct KeyHash {
  size_t operator()(const Key& key) const { return HashBytes({reinterpret_cast<const char*>(&key), sizeof(key)}); }
};

// A primitive with the memory objects of its arguments, whose handles are set before each run.
struct Product {
  dnnl::matmul primitive;
  dnnl::memory a, b, c, bias, scratchpad;
  std::vector<dnnl_exec_arg_t> args;
};

// A view of `rows` x `cols` (after transposition) with leading dimension ld.
dnnl::memory::desc Describe(int64_t rows, int64_t cols, int64_t ld, bool transposed, DataType type) {
  return {{rows, cols}, type, transposed ? dnnl::memory::dims{1, ld} : dnnl::memory::dims{ld, 1}};
}

// Everything of oneDNN that one thread uses; nothing is shared, so nothing is locked.
struct Context {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::unordered_map<Key, std::unique_ptr<Product>, KeyHash> products;
  bool no_bf16 = false;                         // oneDNN has no bf16 products here
  AlignedBuffer<float> a_copy, b_copy, c_copy;  // operands of Bf16GemmThroughFloat

  Product& Find(const Key& key);
  std::unique_ptr<Product> Make(const Key& key);
};

std::unique_ptr<Product> Context::Make(const Key& key) {
  const auto in = static_cast<DataType>(key.in_type), out = static_cast<DataType>(key.out_type);
  const auto a = Describe(key.m, key.k, key.lda, key.transpose_a, in);
  const auto b = Describe(key.k, key.n, key.ldb, key.transpose_b, in);
  const auto c = Describe(key.m, key.n, key.ldc, false, out);
  const dnnl::memory::desc bias({1, key.n}, DataType::f32, dnnl::memory::dims{key.n, 1});
  dnnl::post_ops post_ops;
  if (key.accumulate) post_ops.append_sum(1.0f);
#if DNNL_VERSION_MAJOR >= 3
  if (key.relu) post_ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#else
  if (key.relu) post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#endif
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(post_ops);
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  const auto description = key.bias ? dnnl::matmul::primitive_desc(engine, a, b, bias, c, attributes)
                                    : dnnl::matmul::primitive_desc(engine, a, b, c, attributes);
#else
  const auto description = key.bias ? dnnl::matmul::primitive_desc({a, b, bias, c}, attributes, engine)
                                    : dnnl::matmul::primitive_desc({a, b, c}, attributes, engine);
#endif
  auto product = std::make_unique<Product>();
  product->primitive = dnnl::matmul(description);
  product->a = dnnl::memory(a, engine, nullptr);
  product->b = dnnl::memory(b, engine, nullptr);
  product->c = dnnl::memory(c, engine, nullptr);
  product->scratchpad = dnnl::memory(description.scratchpad_desc(), engine);
  product->args = {{DNNL_ARG_SRC, product->a.get()},
                   {DNNL_ARG_WEIGHTS, product->b.get()},
                   {DNNL_ARG_DST, product->c.get()},
                   {DNNL_ARG_SCRATCHPAD, product->scratchpad.get()}};
  if (key.bias) {
    product->bias = dnnl::memory(bias, engine, nullptr);
    product->args.push_back({DNNL_ARG_BIAS, product->bias.get()});
  }
  return product;
}

Product& Context::Find(const Key& key) {
  const auto found = products.find(key);
  if (found != products.end()) return *found->second;
  // Odd batch sizes could add shapes without end.
  constexpr size_t kMaxProducts = 2048;
  if (products.size() >= kMaxProducts) products.clear();
  return *products.emplace(key, Make(key)).first->second;
}

Context& ThreadContext() {
  static thread_local Context context;
  return context;
}

Matrix<float> FloatCopy(Matrix<const Bf16> from, AlignedBuffer<float>* memory) {
  const int64_t stride = RowStride<float>(from.cols);
  memory->Resize(from.rows * stride);
  const Matrix<float> copy{memory->data(), from.rows, from.cols, stride};
  ConvertToFloat(from, copy);
  return copy;
}

template <class A, class C>
void DnnlGemm(Matrix<const A> a, Matrix<const A> b, Matrix<C> c, const GemmOptions<float>& options) {
  const int64_t k = options.transpose_a ? a.rows : a.cols;
  if constexpr (std::is_same_v<A, Bf16>) {
    if (ThreadContext().no_bf16) return Bf16GemmThroughFloat(a, b, c, options);
  }
  const Key key{c.rows,
                c.cols,
                k,
                a.ld,
                b.ld,
                c.ld,
                static_cast<int32_t>(TypeOf<A>()),
                static_cast<int32_t>(TypeOf<C>()),
                options.transpose_a,
                options.transpose_b,
                options.bias != nullptr,
                options.relu,
                options.accumulate,
                0};
  try {
    Context& context = ThreadContext();
    Product& product = context.Find(key);
    product.a.set_data_handle(const_cast<A*>(a.data));
    product.b.set_data_handle(const_cast<A*>(b.data));
    product.c.set_data_handle(c.data);
    if (options.bias != nullptr) product.bias.set_data_handle(const_cast<float*>(options.bias));
    const dnnl_status_t status = dnnl_primitive_execute(product.primitive.get(), context.stream.get(),
                                                        static_cast<int>(product.args.size()), product.args.data());
    if (status != dnnl_success) throw dnnl::error(status, "execution failed");
  } catch (const dnnl::error& error) {
    if constexpr (std::is_same_v<A, Bf16>) {
      if (error.status == dnnl_unimplemented) {
        ThreadContext().no_bf16 = true;
        return Bf16GemmThroughFloat(a, b, c, options);
      }
    }
    throw StatusError(
        {StatusCode::kInternal, fmt::format("oneDNN: product [{}, {}] x [{}, {}]: {} (status {})", key.m, key.k, key.k,
                                            key.n, error.what(), static_cast<int>(error.status))});
  }
}

// Four rows of c at a time over contiguous rows of b; a transposed b is read element by element.
void PlainGemm(Matrix<const double> a, Matrix<const double> b, Matrix<double> c, const GemmOptions<double>& options) {
  const int64_t k = options.transpose_a ? a.rows : a.cols;
  for (int64_t i = 0; i < c.rows; ++i) {
    double* out = c.row(i);
    if (!options.accumulate) std::fill(out, out + c.cols, 0.0);
    if (options.transpose_b) {
      for (int64_t j = 0; j < c.cols; ++j) {
        double sum = 0;
        for (int64_t p = 0; p < k; ++p) sum += (options.transpose_a ? a.row(p)[i] : a.row(i)[p]) * b.row(j)[p];
        out[j] += sum;
      }
    } else {
      for (int64_t p = 0; p < k; ++p) {
        const double factor = options.transpose_a ? a.row(p)[i] : a.row(i)[p];
        const double* row = b.row(p);
        for (int64_t j = 0; j < c.cols; ++j) out[j] += factor * row[j];
      }
    }
    if (options.bias != nullptr)
      for (int64_t j = 0; j < c.cols; ++j) out[j] += options.bias[j];
    if (options.relu)
      for (int64_t j = 0; j < c.cols; ++j) out[j] = std::max(out[j], 0.0);
  }
}

}  // namespace

template <class C>
void Bf16GemmThroughFloat(Matrix<const Bf16> a, Matrix<const Bf16> b, Matrix<C> c, const GemmOptions<float>& options) {
  Context& context = ThreadContext();
  const Matrix<const float> a_float = FloatCopy(a, &context.a_copy), b_float = FloatCopy(b, &context.b_copy);
  if constexpr (std::is_same_v<C, float>) {
    DnnlGemm<float, float>(a_float, b_float, c, options);
  } else {
    const Matrix<float> c_float = FloatCopy(c, &context.c_copy);
    DnnlGemm<float, float>(a_float, b_float, c_float, options);
    ConvertToBf16(c_float, c);
  }
}
template void Bf16GemmThroughFloat<float>(Matrix<const Bf16>, Matrix<const Bf16>, Matrix<float>,
                                          const GemmOptions<float>&);
template void Bf16GemmThroughFloat<Bf16>(Matrix<const Bf16>, Matrix<const Bf16>, Matrix<Bf16>,
                                         const GemmOptions<float>&);

template <class A, class C, class B>
void Gemm(std::type_identity_t<Matrix<const A>> a, std::type_identity_t<Matrix<const A>> b, Matrix<C> c,
          const GemmOptions<B>& options) {
  SLUICE_CHECK((options.transpose_a ? a.cols : a.rows) == c.rows && (options.transpose_b ? b.rows : b.cols) == c.cols &&
                   (options.transpose_a ? a.rows : a.cols) == (options.transpose_b ? b.cols : b.rows),
               "shapes [{}, {}]{} x [{}, {}]{} -> [{}, {}]", a.rows, a.cols, options.transpose_a ? "^T" : "", b.rows,
               b.cols, options.transpose_b ? "^T" : "", c.rows, c.cols);
  SLUICE_CHECK(!options.accumulate || (options.bias == nullptr && !options.relu), "a sum takes no bias and no relu");
  if (c.rows == 0 || c.cols == 0) return;
  if constexpr (std::is_same_v<A, double>) {
    PlainGemm(a, b, c, options);
  } else {
    DnnlGemm<A, C>(a, b, c, options);
  }
}

template void Gemm<float, float, float>(Matrix<const float>, Matrix<const float>, Matrix<float>,
                                        const GemmOptions<float>&);
template void Gemm<Bf16, Bf16, float>(Matrix<const Bf16>, Matrix<const Bf16>, Matrix<Bf16>, const GemmOptions<float>&);
template void Gemm<Bf16, float, float>(Matrix<const Bf16>, Matrix<const Bf16>, Matrix<float>,
                                       const GemmOptions<float>&);
template void Gemm<double, double, double>(Matrix<const double>, Matrix<const double>, Matrix<double>,
                                           const GemmOptions<double>&);

const char* GemmLibraryVersion() {
  static const std::string version = [] {
    const dnnl_version_t* v = dnnl_version();
    return fmt::format("{}.{}.{}", v->major, v->minor, v->patch);
  }();
  return version.c_str();
}

}  // namespace sluice::nn
