#include "comm/messages.h"

#include <string>

namespace sluice::comm {

template <class Message>
Status ExchangeMessages(Communicator* comm, const std::vector<std::span<const std::byte>>& send, Traffic traffic,
                        std::vector<Message>* receive) {
  constexpr int64_t kMaxBytes = int64_t{1} << 32;
  std::vector<int64_t> lengths;
  for (const auto& message : send) lengths.push_back(static_cast<int64_t>(message.size()));
  SLUICE_ASSIGN_OR_RETURN(lengths, comm->ExchangeCounts(lengths, traffic));
  receive->resize(lengths.size());
  std::vector<std::span<std::byte>> into;
  for (size_t r = 0; r < lengths.size(); ++r) {
    if (lengths[r] < 0 || lengths[r] > kMaxBytes)
      return DataLoss("rank {} announces a message of {} bytes", r, lengths[r]);
    Message& message = (*receive)[r];
    message.resize(static_cast<size_t>(lengths[r]));
    into.push_back(std::as_writable_bytes(std::span(message.data(), message.size())));
  }
  return comm->AllToAll(send, into, traffic);
}

template Status ExchangeMessages(Communicator*, const std::vector<std::span<const std::byte>>&, Traffic,
                                 std::vector<std::vector<std::byte>>*);
template Status ExchangeMessages(Communicator*, const std::vector<std::span<const std::byte>>&, Traffic,
                                 std::vector<std::string>*);

}  // namespace sluice::comm
