#pragma once

// A stretch of network that fails, for tests.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::service {

// A socket of this machine's own interface, listening on a port of the system's choice where `to_port` is 0, else
// connected to it. -1: that failed.
inline int LoopbackSocket(int to_port, int* port = nullptr) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(to_port));
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  const bool done = to_port != 0 ? connect(fd, any, size) == 0
                                 : bind(fd, any, size) == 0 && listen(fd, 64) == 0 && getsockname(fd, any, &size) == 0;
  if (port != nullptr) *port = ntohs(address.sin_port);
  if (done) return fd;
  close(fd);
  return -1;
}

inline int PortOf(const std::string& address) { return std::stoi(address.substr(address.rfind(':') + 1)); }

// Stands between clients and a server and passes bytes on, until it is told to end every connection, wherever in a
// message that is.
// Threads      one of its own; Cut from any.
class Relay {
 public:
  explicit Relay(const std::string& server, std::chrono::milliseconds connect_delay = {})
      : to_(PortOf(server)), connect_delay_(connect_delay), listener_(LoopbackSocket(0, &port_)) {
    EXPECT_GE(listener_, 0);
    EXPECT_GE(wake_, 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~Relay() {
    stopping_ = true;
    Cut();
    thread_.join();
    close(listener_);
    close(wake_);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void Cut() {
    const uint64_t one = 1;
    EXPECT_EQ(write(wake_, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  }
  int64_t cut() const { return cut_.load(); }  // connections that were ended so

 private:
  void Serve() {
    std::vector<std::pair<int, int>> pairs;
    const auto end = [](const std::pair<int, int>& pair) {
      close(pair.first);
      close(pair.second);
    };
    std::vector<char> bytes(1 << 16);
    while (!stopping_) {
      std::vector<pollfd> fds = {{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
      for (const auto& [a, b] : pairs) {
        fds.push_back({a, POLLIN, 0});
        fds.push_back({b, POLLIN, 0});
      }
      if (poll(fds.data(), fds.size(), 1000) <= 0) continue;
      if (fds[0].revents != 0) {
        uint64_t times = 0;
        EXPECT_EQ(read(wake_, &times, sizeof(times)), static_cast<ssize_t>(sizeof(times)));
        for (const auto& pair : pairs) end(pair);
        cut_ += static_cast<int64_t>(pairs.size());
        pairs.clear();
        continue;
      }
      std::vector<std::pair<int, int>> alive;
      for (size_t p = 0; p < pairs.size(); ++p) {
        const auto& [a, b] = pairs[p];
        const bool open =
            (fds[2 + 2 * p].revents == 0 || Pass(a, b, &bytes)) && (fds[3 + 2 * p].revents == 0 || Pass(b, a, &bytes));
        if (open)
          alive.push_back(pairs[p]);
        else
          end(pairs[p]);
      }
      pairs.swap(alive);
      if (fds[1].revents == 0) continue;
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      std::this_thread::sleep_for(connect_delay_);
      const int server = LoopbackSocket(to_);
      if (client < 0 || server < 0) {
        end({client, server});
        continue;
      }
      const int on = 1;
      for (const int fd : {client, server}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      pairs.emplace_back(client, server);
    }
    for (const auto& pair : pairs) end(pair);
  }

  static bool Pass(int from, int to, std::vector<char>* bytes) {
    const ssize_t got = recv(from, bytes->data(), bytes->size(), MSG_DONTWAIT);
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t more = send(to, bytes->data() + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
      if (more <= 0) return false;
      sent += more;
    }
    return got > 0;
  }

  const int to_;
  const std::chrono::milliseconds connect_delay_;
  int port_ = 0;
  const int listener_;
  const int wake_ = eventfd(0, EFD_CLOEXEC);
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> cut_{0};
  std::thread thread_;
};

}  // namespace sluice::service
