#pragma once

namespace sluice {

// Instruction sets that kernels are compiled for. A file foo_kernels.cc is compiled once per set, its functions in
// namespace sluice::SLUICE_ISA; Dispatch picks among them at run time. Kernels give the same bits on every set: they
// use a fixed number of partial sums (kLanes) and no fused multiply-add.
enum class Isa { kPlain, kAvx2, kAvx512 };

// Best set that this processor, this build and the environment variable SLUICE_MAX_ISA (plain, avx2, avx512) allow.
Isa BestIsa();
const char* IsaName(Isa isa);

// Whether products of bf16 operands are faster than those of float here, by the processor's features alone so that
// every run on one kind of processor decides alike: AMX, or AVX-512 BF16 of a vendor other than Intel (Intel's, where
// AMX is hidden, runs them at half the rate of float; docs/decisions/0011-bf16-products.md). The environment variable
// SLUICE_BF16_PRODUCTS (1, 0) decides instead.
bool Bf16ProductsPay();

// Model name of the processor, as recorded in checkpoints and benchmarks.
const char* ProcessorName();

// Partial sums of every reduction, whatever the vector width.
inline constexpr int kLanes = 16;

}  // namespace sluice

// SLUICE_DISPATCH(Function)(args...): calls sluice::{plain,avx2,avx512}::Function.
#if defined(__x86_64__)
#define SLUICE_DISPATCH(...)                                                     \
  (::sluice::BestIsa() == ::sluice::Isa::kAvx512 ? ::sluice::avx512::__VA_ARGS__ \
   : ::sluice::BestIsa() == ::sluice::Isa::kAvx2 ? ::sluice::avx2::__VA_ARGS__   \
                                                 : ::sluice::plain::__VA_ARGS__)
// Declares a kernel once for all sets: SLUICE_DECLARE_KERNELS(void Axpy(float a, const float* x, float* y, int n);)
// A set that the build leaves out (SLUICE_ISAS of CMake) is another name of `plain`.
#if defined(SLUICE_WITHOUT_avx2)
#define SLUICE_AVX2_KERNELS(...) namespace avx2 = plain;
#else
#define SLUICE_AVX2_KERNELS(...) \
  namespace avx2 {               \
  __VA_ARGS__                    \
  }
#endif
#if defined(SLUICE_WITHOUT_avx512)
#define SLUICE_AVX512_KERNELS(...) namespace avx512 = plain;
#else
#define SLUICE_AVX512_KERNELS(...) \
  namespace avx512 {               \
  __VA_ARGS__                      \
  }
#endif
#define SLUICE_DECLARE_KERNELS(...) \
  namespace plain {                 \
  __VA_ARGS__                       \
  }                                 \
  SLUICE_AVX2_KERNELS(__VA_ARGS__)  \
  SLUICE_AVX512_KERNELS(__VA_ARGS__)
#else
#define SLUICE_DISPATCH(...) ::sluice::plain::__VA_ARGS__
#define SLUICE_DECLARE_KERNELS(...) \
  namespace plain {                 \
  __VA_ARGS__                       \
  }
#endif
