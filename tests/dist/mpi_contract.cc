// One rank of the communicator's contract suite over MPI: mpirun -n N mpi_contract. Exit code 0 where it holds.
#include <cstdio>

#include "comm/communicator.h"
#include "comm/contract_suite.h"
#include "comm/mpi.h"

int main() {
  using namespace sluice::comm;
  auto transport = MakeMpiTransport();
  if (!transport.ok()) {
    std::fprintf(stderr, "%s\n", transport.status().message().c_str());
    return transport.status().ExitCode();
  }
  std::string failures;
  {
    Communicator comm(std::move(transport).value(), std::make_shared<Ledger>(), std::chrono::seconds(30));
    failures = ContractSuite(comm).Run();
  }
  std::fputs(failures.c_str(), stderr);
  FinishMpi(!failures.empty(), 1);
  return failures.empty() ? 0 : 1;
}
