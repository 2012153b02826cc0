#include <algorithm>
#include <cctype>

#include "base/file.h"
#include "service/parameter_server.h"

namespace sluice::service {
namespace {

// host of host:port or [host]:port; empty where there is none.
std::string HostOf(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return {};
  std::string host = address.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') return host.substr(1, host.size() - 2);
  return host.find(':') == std::string::npos ? host : std::string();
}

}  // namespace

bool IsAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (HostOf(text).empty() || HostOf(text).find('/') != std::string::npos) return false;
  const std::string port = text.substr(colon + 1);
  return !port.empty() && port.size() <= 5 &&
         std::all_of(port.begin(), port.end(), [](unsigned char c) { return std::isdigit(c) != 0; }) &&
         std::stoi(port) <= 65535;
}

Result<std::string> ReadToken(const std::string& file) {
  if (file.empty()) return std::string();
  auto token = ReadWholeFile(file);
  if (!token.ok()) return token.status().WithContext("service.token_file");
  while (!token->empty() && (token->back() == '\n' || token->back() == '\r')) token->pop_back();
  if (token->empty()) return InvalidArgument("service.token_file: {} is empty", file);
  return token;
}

bool IsLoopback(const std::string& address) {
  const std::string host = HostOf(address);
  const bool dotted = !host.empty() && std::all_of(host.begin(), host.end(),
                                                   [](unsigned char c) { return std::isdigit(c) != 0 || c == '.'; });
  return host == "localhost" || host == "::1" || (dotted && host.starts_with("127."));
}

}  // namespace sluice::service
