#include "cli/interrupt.h"

#include <unistd.h>
#include <csignal>

#include "train/api.h"

namespace sluice::cli {
namespace {

// Nothing but a lock-free store and _exit: both are allowed in a signal handler.
void OnSignal(int) {
  if (train::InterruptFlag().exchange(true)) _exit(130);
}

}  // namespace

void CatchInterrupts() {
  // The flag's first use may construct it, which a handler must not.
  train::InterruptFlag();
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace sluice::cli
