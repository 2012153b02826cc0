#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace sluice::cli {

// How a child ended, and what it and the processes that it waited for used.
struct ChildEnd {
  int exit_code = 0;
  int signal = 0;  // not 0: killed by it
  double wall_s = 0;
  double cpu_s = 0;            // user and system, of all of them
  int64_t peak_rss_bytes = 0;  // of the largest one
  std::string output, errors;  // what was written to standard output and error, the last mebibyte of each
  bool ok() const { return exit_code == 0 && signal == 0; }
};

// From now on Ctrl-C and SIGTERM are counted and handed on to the child that runs; the caller decides when to leave.
void CountInterrupts();
int Interrupts();

// Runs a program found in PATH to its end, with nothing on its standard input. The first interrupt reaches it as
// SIGTERM, the second (or 15 s) ends it and the processes of its group.
// Threads      one at a time.
// Errors       kIo where it cannot be started. What it does itself is no error here.
Result<ChildEnd> RunChild(const std::vector<std::string>& command);

}  // namespace sluice::cli
