#pragma once

#include <string>

#include "base/status.h"
#include "comm/communicator.h"

namespace sluice::placement {

// What a rank and its link can do: what bytes and rows become time by. Given by options, read from a file, or measured.
// Numbers are those of one rank with its share of the processors.
struct Machine {
  double bandwidth_bytes_per_s = 0;  // of a rank's link, each way; 0: not known
  double latency_s = 0;              // from sending a short message until it is received
  double read_s = 0;                 // one key of one sample read: parsed, hashed
  double id_s = 0;                   // one key made unique
  double pass_s = 0;                 // one key looked at for its owner and passed over, where others own rows
  double row_s = 0;                  // one unique row: found, gathered, updated, without the bytes it holds
  double byte_s = 0;                 // one byte copied, summed or packed
  double flops_per_s = 0;            // of the dense net

  bool knows_link() const { return bandwidth_bytes_per_s > 0; }
};

// "10Gbit", "100 Mbit/s", "1.2GB/s", "800MiB": bytes per second. Errors: kInvalidArgument naming `option`.
Result<double> ParseBandwidth(const std::string& option, const std::string& text);
// "50us", "1ms", "0.1s": seconds.
Result<double> ParseDuration(const std::string& option, const std::string& text);
// "8GiB", "500 MB", "1e9": bytes.
Result<double> ParseBytes(const std::string& option, const std::string& text);

// Measures bandwidth and latency among the ranks: every rank sends to its neighbour at the same time, as collectives
// do.
// Semantics    the slowest rank's numbers, the same on every rank.
// Distributed  collective; about 50 ms on a fast link, and 2 x 4 MiB sent by each rank.
Status MeasureLink(comm::Communicator* comm, Machine* machine);

}  // namespace sluice::placement
