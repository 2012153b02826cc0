#pragma once

namespace sluice::cli {

// From now on Ctrl-C and SIGTERM ask the running verb to finish cleanly (train::InterruptFlag); a second one ends the
// process at once with exit code 130.
void CatchInterrupts();

}  // namespace sluice::cli
