// One rank of the communicator's contract suite over MPI: mpirun -n N mpi_contract. Exit code 0 where it holds.
#include <time.h>

#include <cstdio>

#include <fmt/format.h>

#include "comm/communicator.h"
#include "comm/contract_suite.h"
#include "comm/mpi.h"

namespace sluice::comm {
namespace {

// A wait whose deadline is over looks once and comes back: where it yielded the processor a few hundred times instead,
// a heartbeat on a busy machine would take seconds to see what had come. What went wrong; empty: nothing.
std::string CheckPolls(Communicator* comm, Transport* transport) {
  constexpr int kPolls = 2000;
  constexpr double kMost_us = 20;  // of processor time; one look takes about one, 200 of them about a hundred
  const int size = transport->size(), rank = transport->rank();
  if (size == 1) return {};
  std::byte out{7}, in{};
  const auto receive = transport->Receive((rank + size - 1) % size, {&in, 1});
  const auto cpu_us = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
  };
  std::string failures;
  const double begin = cpu_us();
  for (int i = 0; i < kPolls; ++i)
    if (receive->Wait(Clock::now()).ok()) failures = "a message came that nobody sent\n";
  const double each = (cpu_us() - begin) / kPolls;
  if (each > kMost_us) failures += fmt::format("rank {}: a look takes {:.1f} us\n", rank, each);
  if (!comm->Barrier().ok()) return failures + "no barrier\n";
  const auto send = transport->Send((rank + 1) % size, {&out, 1});
  const Deadline deadline = Clock::now() + std::chrono::seconds(30);
  if (!receive->Wait(deadline).ok() || !send->Wait(deadline).ok() || in != out)
    failures += "a wait that was over does not go on\n";
  return failures;
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
  }
  std::fputs(failures.c_str(), stderr);
  FinishMpi(!failures.empty(), 1);
  return failures.empty() ? 0 : 1;
}
