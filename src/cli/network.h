#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"

namespace sluice::cli {

// The interface of a machine's namespace that leads to the other machines, and the environment variable that tells a
// rank's guard which namespaces there are.
inline constexpr char kDataInterface[] = "data0";
inline constexpr char kNetworksVariable[] = "SLUICE_RANK_NETWORKS";

// Machines that are network namespaces of this one, so that every byte between them crosses an interface that the
// kernel shapes and counts:
//
//   PREFIX<m>    data0 10.231.0.(m+1) -- switch "data" of PREFIXhost     what machines say to one another
//                ctl0  10.232.0.(m+1) -- switch "ctl", 10.232.0.254      where ranks find their launcher
//
// Nothing of it is visible outside. Segmentation offloads of data0 are off: its counters count frames as a wire carries
// them.
// Errors       kUnavailable where this process may not make namespaces or iproute2 is missing, saying which; kIo for a
//              command that failed.
class Network {
 public:
  // What keeps namespaces from being made here, as a status; namespaces of runs that were killed are removed.
  static Status Possible();
  // `mbit_per_s`: what every machine may send at most.
  static Result<std::unique_ptr<Network>> Make(int machines, double mbit_per_s);
  // Ends what still runs inside and removes the namespaces.
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  const std::string& prefix() const { return prefix_; }
  // Of a machine's data0.
  static std::string Address(int machine) { return "10.231.0." + std::to_string(machine + 1); }
  // Bytes of all frames that the machines sent so far.
  Result<int64_t> SentBytes() const;

 private:
  Network(std::string prefix, int machines) : prefix_(std::move(prefix)), machines_(machines) {}
  Status Build(double mbit_per_s);

  std::string prefix_;
  int machines_;
};

// Whether there is a network namespace of this name. Errors: kNotFound.
Status FindNetwork(const std::string& name);
// This thread's network is that of the namespace from now on; for a child between fork and exec. Errors: kNotFound,
// kIo.
Status EnterNetwork(const std::string& name);

// "1Gbit", "100Mbit", "2.5Gbit": megabits per second. Errors: kInvalidArgument.
Result<double> ParseRate(const std::string& text);

}  // namespace sluice::cli
