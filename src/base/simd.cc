#include "base/simd.h"

#include <cstdlib>
#include <fstream>
#include <string>

namespace sluice {
namespace {

Isa Detect() {
  Isa best = Isa::kPlain;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    best = Isa::kAvx2;
  if (best == Isa::kAvx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    best = Isa::kAvx512;
#endif
  if (const char* wanted = std::getenv("SLUICE_MAX_ISA")) {
    const std::string name = wanted;
    const Isa limit = name == "plain" ? Isa::kPlain : name == "avx2" ? Isa::kAvx2 : Isa::kAvx512;
    if (limit < best) best = limit;
  }
#if defined(SLUICE_WITHOUT_avx512)
  if (best == Isa::kAvx512) best = Isa::kAvx2;
#endif
#if defined(SLUICE_WITHOUT_avx2)
  if (best == Isa::kAvx2) best = Isa::kPlain;
#endif
  return best;
}

std::string ReadCpuInfo(const std::string& key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const auto colon = line.find(':');
    if (colon != std::string::npos && colon + 2 <= line.size()) return line.substr(colon + 2);
  }
  return {};
}

}  // namespace

Isa BestIsa() {
  static const Isa isa = Detect();
  return isa;
}

const char* IsaName(Isa isa) {
  return isa == Isa::kAvx512 ? "avx512" : isa == Isa::kAvx2 ? "avx2" : "plain";
}

bool Bf16ProductsPay() {
  static const bool pay = [] {
    if (const char* wanted = std::getenv("SLUICE_BF16_PRODUCTS"); wanted != nullptr && *wanted != '\0')
      return std::string(wanted) != "0";
    const std::string flags = " " + ReadCpuInfo("flags") + " ";
    const auto has = [&](const char* flag) { return flags.find(flag) != std::string::npos; };
    return has(" amx_bf16 ") || (has(" avx512_bf16 ") && ReadCpuInfo("vendor_id") != "GenuineIntel");
  }();
  return pay;
}

const char* ProcessorName() {
  static const std::string name = [] {
    const std::string model = ReadCpuInfo("model name");
    return model.empty() ? std::string("unknown processor") : model;
  }();
  return name.c_str();
}

}  // namespace sluice
