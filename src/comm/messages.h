#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"
#include "comm/communicator.h"

namespace sluice::comm {

// Messages whose lengths their senders alone know: send[r] goes to rank r, and (*receive)[r] becomes what rank r sent
// here. Message: std::vector<std::byte> or std::string.
// Distributed  collective; 8 (N - 1) bytes sent by each rank, then the messages by one all-to-all.
// Errors       those of the communicator; kDataLoss naming a rank that announces more than 4 GiB.
template <class Message>
Status ExchangeMessages(Communicator* comm, const std::vector<std::span<const std::byte>>& send, Traffic traffic,
                        std::vector<Message>* receive);

}  // namespace sluice::comm
