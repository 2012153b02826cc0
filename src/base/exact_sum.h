#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace sluice {

// A sum of doubles that is the same bits in whatever order and grouping numbers were added: 64-bit fixed point in four
// limbs of weights 2^10, 2^-30, 2^-70 and 2^-110.
// Numerics     an addend is rounded to a multiple of 2^-110; the sum of those is exact, and rounded once by Value.
// Errors       an addend that is not finite or beyond 2^61 makes Value NaN.
// Distributed  words() of ranks add up word by word, as an all-reduce of int64 does: at most 2^12 of them.
class ExactSum {
 public:
  static constexpr int kWords = 5;  // of words()

  void Add(double x);
  double Value() const;
  std::span<int64_t> words() {
    Carry();
    return words_;
  }

 private:
  static constexpr int kLimbs = kWords - 1;
  void Carry();

  std::array<int64_t, kWords> words_{};  // the limbs, then how many addends were refused
  int64_t added_ = 0;
};

}  // namespace sluice
