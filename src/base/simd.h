#pragma once

namespace sluice {

// Instruction sets that kernels are compiled for. A file foo_kernels.cc is compiled once per set, its functions in
// namespace sluice::SLUICE_ISA; Dispatch picks among them at run time. Kernels give the same bits on every set: they use
// a fixed number of partial sums (kLanes) and no fused multiply-add.
enum class Isa { kPlain, kAvx2, kAvx512 };

// Best set that this processor and the environment variable SLUICE_MAX_ISA (plain, avx2, avx512) allow.
Isa BestIsa();
const char* IsaName(Isa isa);

// Hardware bf16 products: avx512_bf16 or AMX. What oneDNN uses is its own choice.
bool HasHardwareBf16();

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
#define SLUICE_DECLARE_KERNELS(...)          \
  namespace plain { __VA_ARGS__ }            \
  namespace avx2 { __VA_ARGS__ }             \
  namespace avx512 { __VA_ARGS__ }
#else
#define SLUICE_DISPATCH(...) ::sluice::plain::__VA_ARGS__
#define SLUICE_DECLARE_KERNELS(...) \
  namespace plain { __VA_ARGS__ }
#endif
