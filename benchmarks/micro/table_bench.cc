// Tables and virtual ids against what the machine can do, measured in the same run:
//   table_bench [--rows N] [--batch N] [--threads N] [--runs N]
// Rows of 64 bytes of payload (16 float weights, SGD). Verifies, then times. docs/performance.md reads its output.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/aligned_buffer.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "embedding/make_table.h"
#include "embedding/virtual_ids.h"
#include "optim/config.h"

namespace sluice::embedding {
namespace {

constexpr int64_t kDim = 16;
constexpr int64_t kStride = 16 + kDim * sizeof(float);
constexpr int kRounds = 15;

struct Settings {
  int64_t rows = 20'000'000;
  int64_t batch = 65536;
  int threads = 2;
  int runs = 5;
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
double Median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<int64_t>(v.size()) / 2, v.end());
  return v[v.size() / 2];
}
int64_t RssBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

Key KeyOf(int64_t i) { return MixPair(7, static_cast<uint64_t>(i)); }

// `n` distinct numbers below `rows`, spread at random; another set for each `round`.
std::vector<int64_t> RandomRows(const Settings& s, int64_t round) {
  std::vector<int64_t> out;
  const CounterRng rng(99, static_cast<uint64_t>(round));
  std::vector<bool> taken(static_cast<size_t>(s.rows));
  for (uint64_t i = 0; static_cast<int64_t>(out.size()) < std::min(s.batch, s.rows); ++i) {
    const auto row = static_cast<int64_t>(rng.Below(i, static_cast<uint64_t>(s.rows)));
    if (!taken[static_cast<size_t>(row)]) out.push_back(row);
    taken[static_cast<size_t>(row)] = true;
  }
  return out;
}

// What the machine gives for one index line and one row of the table's stride at random addresses: no keys, no search,
// both prefetched at the best distance found.
class Machine {
 public:
  explicit Machine(const Settings& s)
      : lines_(s.rows / 8 + 1), index_(lines_ * 64), memory_(s.rows * kStride) {
    for (int64_t i = 0; i < lines_ * 64; i += 64) index_.data()[i] = std::byte{1};
    std::memset(memory_.data(), 1, static_cast<size_t>(s.rows * kStride));
  }

  // Seconds for a batch that was not touched lately, prefetched `ahead` rows before use.
  double Time(const std::vector<int64_t>& rows, int64_t ahead, float* out, ThreadPool& pool) const {
    const double start = Now();
    pool.ForParts(static_cast<int64_t>(rows.size()), [&](Range range, int) {
      uint64_t sum = 0;
      for (int64_t i = range.begin; i < range.end; ++i) {
        if (i + ahead < range.end) {
          __builtin_prefetch(Line(rows[i + ahead]));
          const std::byte* const row = Row(rows[i + ahead]);
          __builtin_prefetch(row);
          __builtin_prefetch(row + kStride - 1);
        }
        uint64_t word;
        std::memcpy(&word, Line(rows[i]), sizeof(word));
        sum += word;
        std::memcpy(out + i * kDim, Row(rows[i]) + 16, kDim * sizeof(float));
      }
      sink_ = sum;
    });
    return Now() - start;
  }

 private:
  const std::byte* Line(int64_t row) const {
    return index_.data() + static_cast<int64_t>(Mix64(static_cast<uint64_t>(row)) % static_cast<uint64_t>(lines_)) * 64;
  }
  const std::byte* Row(int64_t row) const { return memory_.data() + row * kStride; }

  const int64_t lines_;
  AlignedBuffer<std::byte> index_, memory_;
  static thread_local volatile uint64_t sink_;
};
thread_local volatile uint64_t Machine::sink_ = 0;

struct Harness {
  Settings settings;
  ThreadPool pool;
  std::unique_ptr<Table<float>> table;
  Resolved resolved;
  AlignedBuffer<float> out;
  std::vector<Key> keys;
  int64_t step = 0;

  explicit Harness(const Settings& s) : settings(s), pool(s.threads), out(s.batch * kDim) {
    std::memset(out.data(), 0, static_cast<size_t>(s.batch * kDim) * sizeof(float));
  }

  void NewTable() {
    table.reset();
    TableConfig config;
    config.optimizer.name = "sgd";
    table = MakeTable<float>("bench", kDim, config, 1).value();
    step = 0;
  }
  void SetKeys(int64_t begin, int64_t n) {
    keys.resize(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) keys[static_cast<size_t>(i)] = KeyOf(begin + i);
  }
  void SetKeys(const std::vector<int64_t>& rows) {
    keys.clear();
    for (const int64_t row : rows) keys.push_back(KeyOf(row));
  }
  std::vector<KeyBlock> Blocks() const { return {{0, static_cast<int32_t>(keys.size()), 1}}; }
  void Resolve(ResolveMode mode, ThreadPool& p) {
    table->Resolve(keys, {}, Blocks(), mode, ++step, &p, &resolved);
  }
  void Gather(ThreadPool& p) {
    const auto blocks = Blocks();
    p.ForParts(static_cast<int64_t>(keys.size()),
               [&](Range range, int) { table->Gather(resolved, keys, blocks, range, out.data()); });
  }
};

void Growth(Harness* h) {
  const Settings& s = h->settings;
  const int64_t batches = s.rows / s.batch;
  std::vector<double> best(static_cast<size_t>(batches), 1e9);
  double worst_memory = 0, final_memory = 0;
  for (int run = 0; run < s.runs; ++run) {
    h->table.reset();
    const int64_t before = RssBytes();
    h->NewTable();
    for (int64_t b = 0; b < batches; ++b) {
      h->SetKeys(b * s.batch, s.batch);
      const double start = Now();
      h->Resolve(ResolveMode::kTrain, h->pool);
      h->Gather(h->pool);
      best[static_cast<size_t>(b)] = std::min(best[static_cast<size_t>(b)], Now() - start);
      h->table->Release(h->resolved);
      const int64_t rows = (b + 1) * s.batch;
      const double share =
          static_cast<double>(RssBytes() - before) / static_cast<double>(rows * h->table->stats().row_bytes);
      if (rows >= 1'000'000) worst_memory = std::max(worst_memory, share);
      final_memory = share;
    }
  }
  // Rows that the last, partial batch would hold.
  h->SetKeys(batches * s.batch, s.rows - batches * s.batch);
  h->Resolve(ResolveMode::kTrain, h->pool);
  h->table->Release(h->resolved);
  const double median = Median(best);
  std::vector<double> sorted = best;
  std::sort(sorted.begin(), sorted.end());
  const auto rank = static_cast<size_t>(std::ceil(0.999 * static_cast<double>(sorted.size()))) - 1;
  std::printf("growth 0 to %lld rows, batches of %lld, minimum of %d runs per batch\n", static_cast<long long>(s.rows),
              static_cast<long long>(s.batch), s.runs);
  std::printf("  batch median %.2f ms (%.1f ns per key)   p99.9 %.2fx   max %.2fx   (targets: 4x, 10x)\n", median * 1e3,
              median * 1e9 / static_cast<double>(s.batch), sorted[rank] / median, sorted.back() / median);
  std::printf("  slowest batches:");
  std::vector<size_t> order(best.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return best[a] > best[b]; });
  for (size_t i = 0; i < std::min<size_t>(5, order.size()); ++i)
    std::printf(" #%zu %.2f ms", order[i], best[order[i]] * 1e3);
  std::printf("\n  memory by RSS over row bytes: %.3fx at the end, %.3fx at most from 1 M rows on   (targets: 1.25x, 1.45x)\n",
              final_memory, worst_memory);
  std::printf("  the table's own count: %.3fx\n",
              static_cast<double>(h->table->stats().memory_bytes) /
                  static_cast<double>(h->table->stats().rows * h->table->stats().row_bytes));
}

bool Verify(Harness* h) {
  for (int64_t round = 0; round < 3; ++round) {
    const auto rows = RandomRows(h->settings, 1000 + round);
    h->SetKeys(rows);
    h->Resolve(ResolveMode::kLookup, h->pool);
    if (h->resolved.num_missing != 0) return false;
    h->Gather(h->pool);
    h->table->Release(h->resolved);
    for (size_t i = 0; i < rows.size(); i += 17) {
      bool equal = false;
      h->table->FindRow(h->keys[i], [&](const RowView<float>& row) {
        equal = std::memcmp(row.weights, h->out.data() + static_cast<int64_t>(i) * kDim, kDim * sizeof(float)) == 0;
      });
      if (!equal) return false;
    }
  }
  return true;
}

void Present(Harness* h, const Machine& machine, int threads) {
  ThreadPool pool(threads);
  constexpr int64_t kDistances[] = {8, 16, 32};
  std::vector<double> machine_by_distance[3], lookup_s, train_s, resolve_s, gather_s, apply_s;
  std::vector<float> grads(static_cast<size_t>(h->settings.batch * kDim), 0.0f);
  optim::OptimizerConfig optimizer;
  optimizer.name = "sgd";
  const optim::Rule rule = optim::MakeRule(optimizer).value();
  for (int64_t round = 0; round < kRounds; ++round) {
    for (int d = 0; d < 3; ++d)
      machine_by_distance[d].push_back(
          machine.Time(RandomRows(h->settings, 500 + 3 * round + d), kDistances[d], h->out.data(), pool));
    for (const ResolveMode mode : {ResolveMode::kLookup, ResolveMode::kTrain}) {
      // Other keys' rows for each mode, so that no mode finds what the one before brought near.
      h->SetKeys(RandomRows(h->settings, 100 + 2 * round + static_cast<int>(mode)));
      const double start = Now();
      h->Resolve(mode, pool);
      const double resolved = Now();
      h->Gather(pool);
      const double end = Now();
      (mode == ResolveMode::kLookup ? lookup_s : train_s).push_back(end - start);
      if (mode == ResolveMode::kTrain) {
        resolve_s.push_back(resolved - start);
        gather_s.push_back(end - resolved);
        pool.ForParts(static_cast<int64_t>(h->keys.size()), [&](Range range, int) {
          h->table->Apply(h->resolved, h->keys, grads.data(), range, rule);
        });
        apply_s.push_back(Now() - end);
      }
      h->table->Release(h->resolved);
    }
  }
  const auto n = static_cast<double>(h->keys.size());
  const std::vector<double>& machine_s =
      *std::min_element(std::begin(machine_by_distance), std::end(machine_by_distance),
                        [](const auto& x, const auto& y) { return Median(x) < Median(y); });
  const double machine_ns = Median(machine_s) * 1e9 / n;
  const auto print = [&](const char* name, const std::vector<double>& seconds, const char* target) {
    const double ns = Median(seconds) * 1e9 / n;
    const auto [low, high] = std::minmax_element(seconds.begin(), seconds.end());
    std::printf("  %-34s %6.2f ns per key (%.2f to %.2f)  %6.1f M/s  %5.1f%% of the machine%s\n", name, ns,
                *low * 1e9 / n, *high * 1e9 / n, 1e3 / ns, 100 * machine_ns / ns, target);
  };
  std::printf("present keys, batches of %lld, %d thread%s, median of %d rounds\n", static_cast<long long>(n), threads,
              threads == 1 ? "" : "s", kRounds);
  print("machine: a line and a row", machine_s, "");
  print("resolve (lookup) + gather", lookup_s, "   (target: 75%)");
  print("resolve (train) + gather", train_s, "   (target: 75%)");
  print("  resolve (train)", resolve_s, "");
  print("  gather", gather_s, "");
  print("apply (SGD)", apply_s, "");
}

void Ids() {
  for (const int64_t samples : {2048, 8192}) {
    constexpr int kFields = 26;
    data::Schema schema;
    data::Batch batch;
    batch.size = samples;
    const CounterRng rng(5, 5);
    for (int f = 0; f < kFields; ++f) {
      const std::string name = fmt::format("C{}", f);
      schema.fields.push_back({name, name, VocabularySalt(name), true, false});
      batch.fields.emplace_back();
      for (int64_t i = 0; i < samples; ++i) {
        const double u = rng.Uniform(static_cast<uint64_t>(f * samples + i));
        batch.fields.back().keys.push_back(IntegerKey(static_cast<uint64_t>(std::pow(u, 4) * 1e6), schema.fields.back().salt));
      }
    }
    VirtualIdBuilder builder(schema);
    VirtualIds ids;
    std::vector<double> seconds;
    for (int round = 0; round < 51; ++round) {
      const double start = Now();
      builder.Build(batch, nullptr, &ids);
      seconds.push_back(Now() - start);
    }
    std::printf("virtual ids, %lld samples x %d one-hot fields, 1 thread: %.2f ns per occurrence, %.0f%% unique "
                "(target: 5 ns)\n", static_cast<long long>(samples), kFields,
                Median(seconds) * 1e9 / static_cast<double>(samples * kFields),
                100.0 * static_cast<double>(ids.num_unique()) / static_cast<double>(samples * kFields));
  }
}

}  // namespace
}  // namespace sluice::embedding

int main(int argc, char** argv) {
  sluice::embedding::Settings settings;
  CLI::App app("Tables and virtual ids against the machine's own rates.");
  app.add_option("--rows", settings.rows, "Rows of the grown table")->check(CLI::Range(int64_t{1000}, int64_t{1} << 31));
  app.add_option("--batch", settings.batch, "Keys per batch")->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  app.add_option("--threads", settings.threads)->check(CLI::Range(1, 256));
  app.add_option("--runs", settings.runs, "Growth runs; each batch counts by its fastest")->check(CLI::Range(1, 100));
  CLI11_PARSE(app, argc, argv);
  settings.batch = std::min(settings.batch, settings.rows);

  sluice::embedding::Ids();
  sluice::embedding::Harness harness(settings);
  sluice::embedding::Growth(&harness);
  if (!sluice::embedding::Verify(&harness)) {
    std::fprintf(stderr, "table_bench: a row was lost or read wrong\n");
    return 70;
  }
  const sluice::embedding::Machine machine(settings);
  for (int threads = 1; threads <= settings.threads; threads *= 2)
    sluice::embedding::Present(&harness, machine, threads);
  return 0;
}
