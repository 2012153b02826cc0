#pragma once

#include <memory>
#include <vector>

#include "comm/transport.h"

namespace sluice::comm {

// Transports of `size` ranks that are threads of this process. A receiver copies straight from the sender's buffer.
// Threads      transport r belongs to the thread that acts as rank r.
std::vector<std::unique_ptr<Transport>> MakeInProcessTransports(int size);

}  // namespace sluice::comm
