#include "placement/machine.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <span>
#include <vector>

#include "config/text.h"

namespace sluice::placement {
namespace {

struct Unit {
  const char* name;
  double factor;
};

// A positive number and one of the units.
template <size_t N>
Result<double> ParseWithUnit(const std::string& option, const std::string& text, const std::array<Unit, N>& units,
                             const char* examples) {
  size_t end = text.find_first_not_of("0123456789.eE+-_");
  if (end == std::string::npos) end = text.size();
  // The e of an exponent is followed by digits.
  while (end > 0 && (text[end - 1] == 'e' || text[end - 1] == 'E')) --end;
  std::string unit = text.substr(end);
  unit.erase(std::remove(unit.begin(), unit.end(), ' '), unit.end());
  if (unit.ends_with("/s")) unit.resize(unit.size() - 2);
  double number = 0;
  if (config::ParseReal(text.substr(0, end), &number) && number > 0 && std::isfinite(number))
    for (const Unit& known : units)
      if (unit == known.name) return number * known.factor;
  return InvalidArgument("{}: {} is not understood; write, for example, {}", option, config::Shown(text), examples);
}

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Result<double> ParseBandwidth(const std::string& option, const std::string& text) {
  static constexpr std::array<Unit, 11> kUnits = {{{"kbit", 1e3 / 8},
                                                   {"Mbit", 1e6 / 8},
                                                   {"Gbit", 1e9 / 8},
                                                   {"Tbit", 1e12 / 8},
                                                   {"B", 1},
                                                   {"kB", 1e3},
                                                   {"MB", 1e6},
                                                   {"GB", 1e9},
                                                   {"KiB", 1024.0},
                                                   {"MiB", 1048576.0},
                                                   {"GiB", 1073741824.0}}};
  return ParseWithUnit(option, text, kUnits, "10Gbit, 100Mbit/s or 1.2GB/s");
}

Result<double> ParseDuration(const std::string& option, const std::string& text) {
  static constexpr std::array<Unit, 4> kUnits = {{{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}}};
  return ParseWithUnit(option, text, kUnits, "50us or 0.2ms");
}

Result<double> ParseBytes(const std::string& option, const std::string& text) {
  static constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                                   {"B", 1},
                                                   {"kB", 1e3},
                                                   {"MB", 1e6},
                                                   {"GB", 1e9},
                                                   {"TB", 1e12},
                                                   {"KiB", 1024.0},
                                                   {"MiB", 1048576.0},
                                                   {"GiB", 1073741824.0},
                                                   {"TiB", 1099511627776.0}}};
  return ParseWithUnit(option, text, kUnits, "8GiB or 500MB");
}

Status MeasureLink(comm::Communicator* comm, Machine* machine) {
  constexpr int kShort = 20;
  constexpr size_t kLong = size_t{4} << 20;
  const auto shift = [&](std::vector<std::byte>& out, std::vector<std::byte>& in) {
    std::vector<std::span<const std::byte>> send(static_cast<size_t>(comm->size()));
    std::vector<std::span<std::byte>> receive(static_cast<size_t>(comm->size()));
    send[static_cast<size_t>((comm->rank() + 1) % comm->size())] = out;
    receive[static_cast<size_t>((comm->rank() + comm->size() - 1) % comm->size())] = in;
    return comm->AllToAll(send, receive, comm::Traffic::kControl);
  };
  std::vector<std::byte> out(1), in(1);
  SLUICE_RETURN_IF_ERROR(shift(out, in));  // connections come into being
  double begin = Seconds();
  for (int i = 0; i < kShort; ++i) SLUICE_RETURN_IF_ERROR(shift(out, in));
  double latency = (Seconds() - begin) / kShort;
  out.resize(kLong);
  in.resize(kLong);
  SLUICE_RETURN_IF_ERROR(shift(out, in));
  begin = Seconds();
  SLUICE_RETURN_IF_ERROR(shift(out, in));
  std::array<double, 2> slowest = {latency, std::max(1e-9, Seconds() - begin - latency)};
  SLUICE_RETURN_IF_ERROR(
      comm->AllReduce<double>(std::span<double>(slowest), comm::ReduceOp::kMax, comm::Traffic::kControl));
  machine->latency_s = slowest[0];
  machine->bandwidth_bytes_per_s = static_cast<double>(kLong) / slowest[1];
  return Status::Ok();
}

}  // namespace sluice::placement
