// One rank of the communicator's contract suite over MPI: mpirun -n N mpi_contract. Exit code 0 where it holds.
#include <mpi.h>

#include <atomic>
#include <cstdio>

#include <fmt/format.h>

#include "comm/communicator.h"
#include "comm/contract_suite.h"
#include "comm/mpi.h"

namespace {

std::atomic<int64_t> looks{0};

}  // namespace

// Counts; MPI's own is behind it.
extern "C" int MPI_Test(MPI_Request* request, int* done, MPI_Status* status) {
  ++looks;
  return PMPI_Test(request, done, status);
}

namespace sluice::comm {
namespace {

// A wait whose deadline is over looks once and comes back: where it looked a few hundred times, each time yielding the
// processor, a heartbeat on a busy machine would take seconds to hear what had come. What went wrong; empty: nothing.
std::string CheckPolls(Communicator* comm, Transport* transport) {
  const int size = transport->size(), rank = transport->rank();
  if (size == 1) return {};
  std::byte out{7}, in{};
  const auto receive = transport->Receive((rank + size - 1) % size, {&in, 1});
  std::string failures;
  looks = 0;
  for (int i = 0; i < 10; ++i)
    if (receive->Wait(Clock::now()).ok()) failures = "a message came that nobody sent\n";
  if (looks != 10) failures += fmt::format("rank {}: {} looks in 10 waits that were over\n", rank, looks.load());
  if (!comm->Barrier().ok()) return failures + "no barrier\n";
  const auto send = transport->Send((rank + 1) % size, {&out, 1});
  const Deadline deadline = Clock::now() + std::chrono::seconds(30);
  if (!receive->Wait(deadline).ok() || !send->Wait(deadline).ok() || in != out)
    failures += "a wait that was over does not go on\n";
  return failures;
}

// The last thing that a transport's family does: a rank that leaves waits for nobody.
std::string CheckLeaving(Transport* transport) {
  const int size = transport->size();
  if (size == 1) return {};
  std::byte in{};
  const auto receive = transport->Receive((transport->rank() + size - 1) % size, {&in, 1});
  (void)transport->Fail(NumericError("not finite"));
  const Status status = receive->Wait(Clock::now() + std::chrono::seconds(100));
  return status.code() == StatusCode::kNumeric ? "" : "a rank that leaves waits: " + status.message() + "\n";
}

}  // namespace
}  // namespace sluice::comm

int main() {
  using namespace sluice::comm;
  auto transport = MakeMpiTransport();
  if (!transport.ok()) {
    std::fprintf(stderr, "%s\n", transport.status().message().c_str());
    return transport.status().ExitCode();
  }
  std::string failures;
  {
    auto polled = transport.value()->Split(0);
    Communicator comm(std::move(transport).value(), std::make_shared<Ledger>(), std::chrono::seconds(30));
    failures = polled.ok() ? CheckPolls(&comm, polled.value().get()) : polled.status().message() + "\n";
    failures += ContractSuite(comm).Run();
    if (polled.ok()) failures += CheckLeaving(polled.value().get());
  }
  std::fputs(failures.c_str(), stderr);
  FinishMpi(!failures.empty(), 1);
  return failures.empty() ? 0 : 1;
}
