#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "service/packing.h"

namespace sluice::SLUICE_ISA {
namespace {

constexpr int64_t kBlock = service::kPackedBlock;
constexpr uint32_t kZero = 14, kEscape = 15;

struct BlockHead {
  uint8_t top;
  uint8_t escapes[2];
};
static_assert(sizeof(BlockHead) == 3);

int64_t PackBlock(const float* in, int64_t n, std::byte* out) {
  alignas(64) uint32_t bits[kBlock];
  alignas(64) uint32_t wide[kBlock];
  alignas(64) uint8_t codes[kBlock];
  std::memcpy(bits, in, static_cast<size_t>(n) * sizeof(float));
  uint32_t top = 0;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) {
    wide[i] = (bits[i] >> 23) & 0xffu;
    top = std::max(top, wide[i]);
  }
  uint32_t escapes = 0;
#pragma omp simd reduction(+ : escapes)
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t distance = top - wide[i];
    const uint32_t code = wide[i] == 0 ? kZero : distance < kZero ? distance : kEscape;
    escapes += code == kEscape ? 1 : 0;
    codes[i] = static_cast<uint8_t>(code);
  }
  const BlockHead head{static_cast<uint8_t>(top),
                       {static_cast<uint8_t>(escapes & 0xff), static_cast<uint8_t>(escapes >> 8)}};
  std::memcpy(out, &head, sizeof(head));
  out += sizeof(head);
  const int64_t half = (n + 1) / 2;
  if (n % 2 == 1) codes[n] = 0;
  auto* const nibbles = reinterpret_cast<uint8_t*>(out);
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) nibbles[i] = static_cast<uint8_t>(codes[i] | (codes[i + half] << 4));
  auto* const upper = nibbles + half;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i)
    upper[i] = static_cast<uint8_t>(((bits[i] >> 16) & 0x7fu) | ((bits[i] >> 24) & 0x80u));
  alignas(64) uint16_t lower[kBlock];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) lower[i] = static_cast<uint16_t>(bits[i] & 0xffffu);
  std::memcpy(upper + n, lower, static_cast<size_t>(n) * 2);
  uint8_t* at = upper + 3 * n;
  if (escapes > 0)
    for (int64_t i = 0; i < n; ++i)
      if (codes[i] == kEscape) *at++ = static_cast<uint8_t>(wide[i]);
  return reinterpret_cast<std::byte*>(at) - (out - sizeof(head));
}

// Whether a whole block was read; without one, nothing of `read` changes but `damaged`.
bool UnpackBlock(const std::byte* in, int64_t bytes, int64_t n, float* out, service::UnpackedBlocks* read) {
  BlockHead head;
  const int64_t half = (n + 1) / 2;
  const int64_t fixed = static_cast<int64_t>(sizeof(head)) + half + 3 * n;
  if (bytes < static_cast<int64_t>(sizeof(head))) return false;
  std::memcpy(&head, in, sizeof(head));
  const int64_t escapes = head.escapes[0] | (head.escapes[1] << 8);
  read->damaged = escapes > n;
  if (read->damaged || bytes < fixed + escapes) return false;
  const auto* const nibbles = reinterpret_cast<const uint8_t*>(in) + sizeof(head);
  const uint8_t* const upper = nibbles + half;
  const uint8_t* const extra = upper + 3 * n;
  alignas(64) uint8_t codes[kBlock];
  alignas(64) uint16_t lower[kBlock];
  alignas(64) uint32_t bits[kBlock];
  std::memcpy(lower, upper + n, static_cast<size_t>(n) * 2);
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) codes[i] = nibbles[i] & 15;
#pragma omp simd
  for (int64_t i = half; i < n; ++i) codes[i] = nibbles[i - half] >> 4;
  const uint32_t top = head.top;
  uint32_t found = 0, below = 0;
#pragma omp simd reduction(+ : found, below)
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t code = codes[i];
    const uint32_t exponent = code == kZero ? 0 : (top - code) & 0xffu;
    found += code == kEscape ? 1 : 0;
    below += code < kZero && code > top ? 1 : 0;
    const uint32_t high = upper[i];
    bits[i] = (exponent << 23) | ((high & 0x80u) << 24) | ((high & 0x7fu) << 16) | lower[i];
  }
  read->damaged = below != 0 || found != static_cast<uint32_t>(escapes);
  if (read->damaged) return false;
  bool finite = top != 0xffu;
  if (escapes > 0) {
    const uint8_t* next = extra;
    for (int64_t i = 0; i < n; ++i) {
      if (codes[i] != kEscape) continue;
      finite = finite && *next != 0xffu;
      bits[i] = (bits[i] & 0x807fffffu) | (static_cast<uint32_t>(*next++) << 23);
    }
  }
  std::memcpy(out, bits, static_cast<size_t>(n) * sizeof(float));
  read->numbers += n;
  read->bytes += fixed + escapes;
  read->finite = read->finite && finite;
  return true;
}

}  // namespace

int64_t PackKernel(const float* in, int64_t n, std::byte* out) {
  std::byte* at = out;
  for (int64_t i = 0; i < n; i += kBlock) at += PackBlock(in + i, std::min(kBlock, n - i), at);
  return at - out;
}

service::UnpackedBlocks UnpackKernel(const std::byte* in, int64_t bytes, int64_t n, float* out) {
  service::UnpackedBlocks read;
  while (read.numbers < n && UnpackBlock(in + read.bytes, bytes - read.bytes, std::min(kBlock, n - read.numbers),
                                         out + read.numbers, &read)) {
  }
  return read;
}

}  // namespace sluice::SLUICE_ISA
