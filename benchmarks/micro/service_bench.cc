// A parameter server's lookups against its table's own, over loopback, server and client in processes of their own:
//   service_bench [--rows N] [--batch N] [--seconds S] [--clients N]
// Rows of 16 float weights. Verifies, then times. docs/performance.md reads its output.

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <deque>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "embedding/make_table.h"
#include "optim/config.h"
#include "service/parameter_client.h"
#include "service/parameter_server.h"

namespace sluice::service {
namespace {

constexpr int64_t kDim = 16;
constexpr int kInFlight = 4;

struct Settings {
  int64_t rows = 2'000'000;
  int64_t batch = 4096;
  double seconds = 3;
  int clients = 1;
};

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void Pin(int core, int count) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  for (int c = core; c < core + count; ++c) CPU_SET(static_cast<size_t>(c), &cores);
  (void)sched_setaffinity(0, sizeof(cores), &cores);
}

// Processor seconds of a process so far.
double CpuSeconds(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

Key KeyOf(int64_t i) { return MixPair(7, static_cast<uint64_t>(i)); }

struct Model {
  explicit Model(const Settings& settings) {
    embedding::TableConfig config;
    config.optimizer.name = "sgd";
    rule = optim::MakeRule(config.optimizer).value();
    table = embedding::MakeTable<float>("rows", kDim, config, 1).value();
    layout.salts = {1};
    layout.tables = {{"rows", kDim, {0}}};
    ThreadPool pool(1);
    embedding::Resolved resolved;
    std::vector<Key> keys;
    for (int64_t at = 0; at < settings.rows; at += 65536) {
      keys.clear();
      for (int64_t i = at; i < std::min(settings.rows, at + 65536); ++i) keys.push_back(KeyOf(i));
      const std::vector<embedding::KeyBlock> blocks = {{0, static_cast<int32_t>(keys.size()), 1}};
      table->Resolve(keys, {}, blocks, embedding::ResolveMode::kTrain, 1, &pool, &resolved);
      table->Release(resolved);
    }
  }
  ServedModel<float> Served() {
    ServedModel<float> served;
    served.layout = layout;
    served.tables = {table.get()};
    served.table_rule = [this](int, int64_t) { return rule; };
    served.dense_rule = [this](int64_t) { return rule; };
    return served;
  }

  optim::Rule rule;
  ModelLayout layout;
  std::unique_ptr<embedding::Table<float>> table;
};

// Distinct keys at random for one batch.
std::vector<Key> BatchKeys(const Settings& settings, int64_t number) {
  const CounterRng rng(5, static_cast<uint64_t>(number));
  std::vector<Key> keys;
  std::vector<int64_t> rows;
  for (uint64_t i = 0; static_cast<int64_t>(rows.size()) < settings.batch; ++i)
    rows.push_back(static_cast<int64_t>(rng.Below(i, static_cast<uint64_t>(settings.rows))));
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  for (const int64_t row : rows) keys.push_back(KeyOf(row));
  return keys;
}

// Lookups a second of the table itself, on one core.
double InProcess(const Settings& settings, const std::vector<std::vector<Key>>& batches, Model* model) {
  ThreadPool pool(1);
  embedding::Resolved resolved;
  std::vector<float> out(static_cast<size_t>(settings.batch * kDim));
  int64_t keys = 0;
  const double begin = Now();
  while (Now() - begin < settings.seconds) {
    for (const auto& batch : batches) {
      const std::vector<embedding::KeyBlock> blocks = {{0, static_cast<int32_t>(batch.size()), 1}};
      model->table->Resolve(batch, {}, blocks, embedding::ResolveMode::kLookup, 1, &pool, &resolved);
      model->table->Gather(resolved, batch, blocks, {0, static_cast<int64_t>(batch.size())}, out.data());
      model->table->Release(resolved);
      keys += static_cast<int64_t>(batch.size());
    }
  }
  return static_cast<double>(keys) / (Now() - begin);
}

// The server's process: its address goes to `out`; SIGTERM ends it.
[[noreturn]] void Serve(const Settings& settings, int threads, int out) {
  Pin(0, threads);
  Model model(settings);
  EngineOptions engine;
  engine.threads = threads;
  auto server = ParameterServer::Start(MakeBackend<float>(model.Served()), model.layout, engine, {}, {}, {});
  if (!server.ok()) _exit(3);
  const std::string address = (*server)->address() + "\n";
  if (write(out, address.data(), address.size()) < 0) _exit(3);
  pause();
  _exit(0);
}

struct Flight {
  embedding::VirtualIds ids;
  std::vector<float> rows;
  Pending pending;
};

// Keys of this client that came back in `seconds`; nothing where a row is wrong.
int64_t Look(const Settings& settings, const std::string& address, const std::vector<std::vector<Key>>& batches,
             bool bf16, Model* model) {
  ClientOptions options;
  options.servers = {address};
  options.name = "bench";
  options.worker = false;
  options.rows = bf16 ? Wire::kBf16 : Wire::kNative;
  auto client = ParameterClient<float>::Connect(options, model->layout);
  if (!client.ok()) return 0;
  std::vector<Flight> flights(kInFlight);
  const auto send = [&](Flight* flight, size_t b) {
    flight->ids.unique = batches[b];
    flight->ids.counts.assign(batches[b].size(), 1);
    flight->ids.block_begin = {0, static_cast<int32_t>(batches[b].size())};
    flight->rows.resize(batches[b].size() * kDim);
    PullRequest<float> request;
    request.ids = &flight->ids;
    request.mode = embedding::ResolveMode::kLookup;
    request.rows = {flight->rows.data()};
    flight->pending = (*client)->Pull(request);
  };
  for (size_t b = 0; b < batches.size(); ++b) {  // every key is known as a handle after this; rows are compared
    send(&flights[0], b);
    if (!flights[0].pending.Wait().ok()) return 0;
    bool equal = true;
    for (size_t i = 0; i < batches[b].size(); i += 97)
      model->table->FindRow(batches[b][i], [&](const embedding::RowView<float>& row) {
        for (int64_t c = 0; c < kDim; ++c) {
          const float got = flights[0].rows[i * kDim + static_cast<size_t>(c)];
          equal = equal && std::abs(got - row.weights[c]) <= (bf16 ? std::abs(row.weights[c]) / 256 : 0);
        }
      });
    if (!equal) return 0;
  }
  size_t next = 0;
  for (auto& flight : flights) send(&flight, next++ % batches.size());
  int64_t keys = 0;
  const double begin = Now();
  for (size_t f = 0; Now() - begin < settings.seconds; f = (f + 1) % flights.size()) {
    if (!flights[f].pending.Wait().ok()) return 0;
    keys += static_cast<int64_t>(flights[f].ids.unique.size());
    send(&flights[f], next++ % batches.size());
  }
  for (auto& flight : flights) (void)flight.pending.Wait();
  return keys;
}

// One server with `threads` threads and cores, and the clients on the cores after them.
bool Measure(const Settings& settings, int threads, bool bf16, double in_process,
             const std::vector<std::vector<Key>>& batches, Model* model) {
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) return false;
  const pid_t server = fork();
  if (server == 0) Serve(settings, threads, pipe_ends[1]);
  char address[128] = {};
  const ssize_t size = read(pipe_ends[0], address, sizeof(address) - 1);
  if (size <= 1) return false;
  address[size - 1] = '\0';
  int results[2];
  if (pipe(results) != 0) return false;
  std::vector<pid_t> clients;
  const double cpu_begin = CpuSeconds(server), begin = Now();
  for (int c = 0; c < settings.clients; ++c) {
    const pid_t pid = fork();
    if (pid == 0) {
      Pin(std::min<int>(threads, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) - 1), settings.clients);
      const int64_t keys = Look(settings, address, batches, bf16, model);
      _exit(write(results[1], &keys, sizeof(keys)) == sizeof(keys) ? 0 : 3);
    }
    clients.push_back(pid);
  }
  int64_t keys = 0;
  bool right = true;
  for (const pid_t client : clients) {
    int64_t of_client = 0;
    right = read(results[0], &of_client, sizeof(of_client)) == sizeof(of_client) && of_client > 0 && right;
    keys += of_client;
    waitpid(client, nullptr, 0);
  }
  // The warm-up is on the server's bill too, but not among the keys: a little too dear.
  const double cpu = CpuSeconds(server) - cpu_begin, wall = Now() - begin;
  kill(server, SIGTERM);
  waitpid(server, nullptr, 0);
  for (const int fd : {pipe_ends[0], pipe_ends[1], results[0], results[1]}) close(fd);
  if (!right) return false;
  const double rate = static_cast<double>(keys) / settings.seconds, per_core = static_cast<double>(keys) / cpu;
  std::printf(
      "  %d server core%s, %s: %6.2f M lookups/s (%.0f%% of the table's own); %6.2f M per second of server core "
      "(%.0f%%); server "
      "busy %.0f%%\n",
      threads, threads == 1 ? " " : "s", bf16 ? "bf16" : "fp32", rate * 1e-6, 100 * rate / in_process / threads,
      per_core * 1e-6, 100 * per_core / in_process, 100 * cpu / wall / threads);
  return true;
}

}  // namespace
}  // namespace sluice::service

int main(int argc, char** argv) {
  using namespace sluice::service;
  Settings settings;
  CLI::App app("A parameter server's lookups against its table's own.");
  app.add_option("--rows", settings.rows)->check(CLI::Range(int64_t{10000}, int64_t{1} << 31));
  app.add_option("--batch", settings.batch)->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  app.add_option("--seconds", settings.seconds)->check(CLI::Range(0.1, 600.0));
  app.add_option("--clients", settings.clients)->check(CLI::Range(1, 64));
  CLI11_PARSE(app, argc, argv);
  const int cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  std::vector<std::vector<sluice::Key>> batches;
  for (int64_t b = 0; b < 64; ++b) batches.push_back(BatchKeys(settings, b));
  // The rate alone runs in a process of its own, so that later forks find a process without threads.
  int result[2];
  if (pipe(result) != 0) return 3;
  if (fork() == 0) {
    Pin(0, 1);
    Model model(settings);
    (void)InProcess(settings, batches, &model);
    const double rate = InProcess(settings, batches, &model);
    _exit(write(result[1], &rate, sizeof(rate)) == sizeof(rate) ? 0 : 3);
  }
  double in_process = 0;
  if (read(result[0], &in_process, sizeof(in_process)) != sizeof(in_process)) return 3;
  wait(nullptr);
  std::printf("%lld rows of %lld floats, batches of %lld keys, %d client%s with %d batches in flight each\n",
              static_cast<long long>(settings.rows), static_cast<long long>(kDim),
              static_cast<long long>(settings.batch), settings.clients, settings.clients == 1 ? "" : "s", kInFlight);
  std::printf("  the table itself, one core: %.2f M lookups/s\n", in_process * 1e-6);
  Model model(settings);  // the clients compare with it
  for (int threads = 1; threads <= std::max(1, cores - settings.clients) || threads == 2; threads *= 2)
    for (const bool bf16 : {false, true})
      if (!Measure(settings, threads, bf16, in_process, batches, &model)) {
        std::fprintf(stderr, "service_bench: no answer, or a row was wrong\n");
        return 70;
      }
  return 0;
}
