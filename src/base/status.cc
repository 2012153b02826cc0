#include "base/status.h"

#include <cstdio>
#include <cstdlib>

namespace sluice {

int Status::ExitCode() const {
  switch (code_) {
    case StatusCode::kOk: return 0;
    case StatusCode::kInvalidArgument: return 2;
    case StatusCode::kNotFound:
    case StatusCode::kDataLoss:
    case StatusCode::kIo:
    case StatusCode::kNumeric:
    case StatusCode::kResourceExhausted: return 3;
    case StatusCode::kUnavailable: return 4;
    case StatusCode::kCancelled: return 130;
    case StatusCode::kInternal: return 70;
  }
  return 70;
}

void CheckFailed(const char* file, int line, const char* condition, const std::string& message) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %s\nThis is a bug in sluice; please report it with this line.\n",
               file, line, condition, message.c_str());
  std::fflush(stderr);
  std::_Exit(70);
}

}  // namespace sluice
