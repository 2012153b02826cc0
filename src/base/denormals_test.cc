#include "base/denormals.h"

#include <limits>
#include <thread>

#include <gtest/gtest.h>

namespace sluice {
namespace {

// Of two numbers that the compiler does not know.
float Product(float x, float y) {
  volatile float a = x, b = y;
  return a * b;
}

TEST(DenormalsTest, AreZeroInTheThreadAndInThoseItStarts) {
  constexpr float kSmallest = std::numeric_limits<float>::min();
  EXPECT_GT(Product(kSmallest, 0.5f), 0.0f);
  float here = -1, there = -1, operand = -1, normal = -1;
  std::thread([&] {  // the setting ends with this thread
    FlushDenormals();
    here = Product(kSmallest, 0.5f);
    operand = Product(std::numeric_limits<float>::denorm_min(), 1e30f);
    normal = Product(kSmallest, 2.0f);
    std::thread([&] { there = Product(kSmallest, 0.5f); }).join();
  })
      .join();
  EXPECT_EQ(here, 0.0f);
  EXPECT_EQ(operand, 0.0f);
  EXPECT_EQ(normal, 2 * kSmallest);
  EXPECT_EQ(there, 0.0f);
  EXPECT_GT(Product(kSmallest, 0.5f), 0.0f);
}

}  // namespace
}  // namespace sluice
