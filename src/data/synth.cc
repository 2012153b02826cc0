#include "data/synth.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <future>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/output_file.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "data/synth_model.h"

namespace sluice::data {
namespace {

constexpr int64_t kBlock = 4096;  // samples of one piece of work
constexpr int kBins = 1 << 16;    // of a probability, for AUC: the error is far below 1e-5
constexpr uint64_t kLabelCounter = ~uint64_t{0} >> 1;

// Labels by predicted probability. Counts are whole numbers, so that merging them in any order gives the same.
class ScoreHistogram {
 public:
  ScoreHistogram() : counts_(2 * kBins) {}
  void Add(double probability, bool label) {
    const int bin = std::min(static_cast<int>(probability * kBins), kBins - 1);
    ++counts_[2 * bin + label];
  }
  void Merge(const ScoreHistogram& other) {
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  }
  double Auc() const {
    double negatives = 0, positives = 0, ordered = 0;
    for (int bin = 0; bin < kBins; ++bin) {
      const auto negative = static_cast<double>(counts_[2 * bin]), positive = static_cast<double>(counts_[2 * bin + 1]);
      ordered += positive * (negatives + 0.5 * negative);
      negatives += negative;
      positives += positive;
    }
    return positives > 0 && negatives > 0 ? ordered / (positives * negatives) : 0.5;
  }

 private:
  std::vector<int64_t> counts_;
};

struct PartCounts {
  ScoreHistogram teacher, linear;
  void Merge(const PartCounts& other) {
    teacher.Merge(other.teacher);
    linear.Merge(other.linear);
  }
};

// What one thread gathers: [0] training part, [1] tail.
struct ThreadCounts {
  PartCounts part[2];
};

// One bit for each key that was written.
class KeySet {
 public:
  KeySet(const SynthModel& model, double churn) {
    renewals_ = static_cast<uint64_t>(churn) + 2;
    uint64_t bits = 0;
    for (int64_t f = 0; f < model.num_fields(); ++f) {
      starts_.push_back(bits);
      bits += static_cast<uint64_t>(model.cardinality(f)) * renewals_;
    }
    words_ = std::vector<std::atomic<uint64_t>>(bits / 64 + 1);
  }
  void Add(const SynthSample& sample) {
    for (size_t f = 0; f < starts_.size(); ++f) {
      for (int32_t k = sample.offsets[f]; k < sample.offsets[f + 1]; ++k) {
        const uint64_t bit = starts_[f] + sample.indices[k] * renewals_ + sample.renewals[k];
        const uint64_t mask = uint64_t{1} << (bit % 64);
        std::atomic<uint64_t>& word = words_[bit / 64];
        if (!(word.load(std::memory_order_relaxed) & mask)) word.fetch_or(mask, std::memory_order_relaxed);
      }
    }
  }
  int64_t size() const {
    int64_t count = 0;
    for (const auto& word : words_) count += __builtin_popcountll(word.load(std::memory_order_relaxed));
    return count;
  }

 private:
  uint64_t renewals_;
  std::vector<uint64_t> starts_;
  std::vector<std::atomic<uint64_t>> words_;
};

void AppendInteger(int64_t value, std::string* out) {
  char digits[24];
  out->append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
}

void AppendHex(Key key, std::string* out) {
  static const char kDigits[] = "0123456789abcdef";
  char text[8];
  for (int i = 0; i < 8; ++i) text[i] = kDigits[(key >> (60 - 4 * i)) & 15];
  out->append(text, 8);
}

void AppendSeparated(const SynthSample& sample, bool label, char separator, std::string* out) {
  out->push_back(label ? '1' : '0');
  for (int64_t value : sample.integers) {
    out->push_back(separator);
    if (value != SynthSample::kMissing) AppendInteger(value, out);
  }
  for (size_t f = 0; f + 1 < sample.offsets.size(); ++f) {
    out->push_back(separator);
    for (int32_t k = sample.offsets[f]; k < sample.offsets[f + 1]; ++k) {
      if (k > sample.offsets[f]) out->push_back('|');
      AppendHex(sample.keys[k], out);
    }
  }
  out->push_back('\n');
}

void AppendLibffm(const SynthSample& sample, bool label, std::string* out) {
  out->push_back(label ? '1' : '0');
  for (size_t c = 0; c < sample.integers.size(); ++c) {
    const int64_t value = sample.integers[c];
    if (value == SynthSample::kMissing) continue;
    const double log = std::log1p(std::abs(static_cast<double>(value)));
    fmt::format_to(std::back_inserter(*out), " {}:1:{:.4f}", c, value < 0 ? -log : log);
  }
  for (size_t f = 0; f + 1 < sample.offsets.size(); ++f) {
    for (int32_t k = sample.offsets[f]; k < sample.offsets[f + 1]; ++k) {
      out->push_back(' ');
      AppendInteger(static_cast<int64_t>(sample.integers.size() + f), out);
      out->push_back(':');
      AppendInteger(static_cast<int64_t>(sample.keys[k] >> 32), out);
      out->append(":1");
    }
  }
  out->push_back('\n');
}

std::string CsvHeader(const SynthConfig& config) {
  std::string header = "label";
  for (int64_t c = 1; c <= config.dense; ++c) header += fmt::format(",I{}", c);
  for (int64_t f = 1; f <= config.fields; ++f) header += fmt::format(",C{}", f);
  return header + "\n";
}

// Lines and statistics of kBlock consecutive samples.
struct Block {
  std::string text;
  std::string teacher;
  int64_t positives[2] = {0, 0};
  double loss[2] = {0, 0};
};

class Generator {
 public:
  explicit Generator(const SynthConfig& config)
      : config_(config),
        model_(config),
        keys_(model_, config.churn),
        tail_start_(config.samples - static_cast<int64_t>(static_cast<double>(config.samples) * config.tail)) {}

  void Fill(int64_t block, ThreadCounts* counts, SynthSample* sample, Block* out) {
    *out = Block{std::move(out->text), std::move(out->teacher)};
    out->text.clear();
    out->teacher.clear();
    const int64_t end = std::min((block + 1) * kBlock, config_.samples);
    for (int64_t i = block * kBlock; i < end; ++i) {
      model_.Draw(static_cast<uint64_t>(i), static_cast<double>(i) / static_cast<double>(config_.samples), sample);
      keys_.Add(*sample);
      const SynthModel::Score score = model_.ScoreOf(*sample);
      const double p = 1 / (1 + std::exp(-score.logit));
      const CounterRng rng(static_cast<uint64_t>(config_.seed), static_cast<uint64_t>(i));
      const bool label = rng.Uniform(kLabelCounter) < p;
      const int part = i >= tail_start_;
      counts->part[part].teacher.Add(p, label);
      counts->part[part].linear.Add(1 / (1 + std::exp(-score.linear_logit)), label);
      out->positives[part] += label;
      out->loss[part] += std::log1p(std::exp(label ? -score.logit : score.logit));
      if (config_.format == "libffm") {
        AppendLibffm(*sample, label, &out->text);
      } else {
        AppendSeparated(*sample, label, config_.format == "csv" ? ',' : '\t', &out->text);
      }
      if (part == 1 && !config_.teacher_output.empty()) fmt::format_to(std::back_inserter(out->teacher), "{:.9g}\n", p);
    }
  }

  int64_t tail_start() const { return tail_start_; }
  int64_t distinct_keys() const { return keys_.size(); }

 private:
  const SynthConfig config_;
  const SynthModel model_;
  KeySet keys_;
  const int64_t tail_start_;
};

Status Check(const SynthConfig& config) {
  if (config.format != "criteo" && config.format != "csv" && config.format != "libffm")
    return InvalidArgument("format: {} is none of criteo, csv, libffm", config.format);
  for (const auto& [name, list] :
       {std::pair{"rows_of_fields", &config.rows_of_fields}, {"keys_of_fields", &config.keys_of_fields}})
    if (!list->empty() && static_cast<int64_t>(list->size()) != config.fields)
      return InvalidArgument("{}: {} numbers for {} fields", name, list->size(), config.fields);
  const bool many_keys =
      config.keys_per_field != 1 ||
      std::any_of(config.keys_of_fields.begin(), config.keys_of_fields.end(), [](int64_t keys) { return keys != 1; });
  if (config.format == "criteo" && (config.dense != 13 || config.fields != 26 || many_keys))
    return InvalidArgument("format criteo has 13 integer columns and 26 fields of one key; use format csv or libffm");
  return Status::Ok();
}

SynthPart MakePart(int64_t samples, int64_t positives, double loss, const PartCounts& counts) {
  SynthPart part;
  part.samples = samples;
  if (samples == 0) return part;
  part.base_rate = static_cast<double>(positives) / static_cast<double>(samples);
  part.auc = counts.teacher.Auc();
  part.linear_auc = counts.linear.Auc();
  part.logloss = loss / static_cast<double>(samples);
  return part;
}

std::string PartJson(const SynthPart& part) {
  return fmt::format(
      R"({{"samples": {}, "base_rate": {:.6f}, "auc": {:.6f}, "linear_auc": {:.6f}, "logloss": {:.6f}}})", part.samples,
      part.base_rate, part.auc, part.linear_auc, part.logloss);
}

std::string PartText(const char* name, const SynthPart& part) {
  return fmt::format(
      "  {:<6} {:>11} samples, {:.2f}% positive; teacher: AUC {:.5f} ({:.5f} without products), log loss {:.5f}\n",
      name, part.samples, 100 * part.base_rate, part.auc, part.linear_auc, part.logloss);
}

}  // namespace

std::string SynthReport::ToText() const {
  return fmt::format("{} samples, {:.1f} MB, {} distinct keys in {:.1f} s ({:.2f} M lines/s)\n{}{}", samples,
                     static_cast<double>(bytes) / 1e6, distinct_keys, wall_s,
                     static_cast<double>(samples) / 1e6 / std::max(wall_s, 1e-9), PartText("train", train),
                     PartText("tail", tail));
}

std::string SynthReport::ToJson() const {
  return fmt::format("{{\"samples\": {}, \"bytes\": {}, \"distinct_keys\": {},\n \"train\": {},\n \"tail\": {}}}\n",
                     samples, bytes, distinct_keys, PartJson(train), PartJson(tail));
}

Result<SynthReport> Synthesize(const SynthConfig& config) {
  const auto start = std::chrono::steady_clock::now();
  SLUICE_RETURN_IF_ERROR(Check(config));
  OutputFile output, teacher;
  SLUICE_RETURN_IF_ERROR(output.Open(config.output));
  if (!config.teacher_output.empty()) SLUICE_RETURN_IF_ERROR(teacher.Open(config.teacher_output));

  SynthReport report;
  if (config.format == "csv") {
    const std::string header = CsvHeader(config);
    report.bytes += static_cast<int64_t>(header.size());
    SLUICE_RETURN_IF_ERROR(output.Write(header));
  }
  Generator generator(config);
  ThreadPool pool(static_cast<int>(config.threads));
  std::vector<ThreadCounts> counts(pool.num_threads());
  std::vector<SynthSample> samples(pool.num_threads());

  // One set of blocks is filled while the one before is written.
  const int64_t num_blocks = (config.samples + kBlock - 1) / kBlock;
  const int64_t wave = 4 * pool.num_threads();
  std::vector<Block> sets[2] = {std::vector<Block>(wave), std::vector<Block>(wave)};
  std::future<Status> writing;
  int64_t positives[2] = {0, 0};
  double loss[2] = {0, 0};
  for (int64_t first = 0; first < num_blocks; first += wave) {
    std::vector<Block>& blocks = sets[(first / wave) % 2];
    const int64_t n = std::min(wave, num_blocks - first);
    pool.ForEach(n, [&](int64_t task, int thread) {
      generator.Fill(first + task, &counts[thread], &samples[thread], &blocks[task]);
    });
    for (int64_t b = 0; b < n; ++b) {
      report.bytes += static_cast<int64_t>(blocks[b].text.size());
      for (int part = 0; part < 2; ++part) {
        positives[part] += blocks[b].positives[part];
        loss[part] += blocks[b].loss[part];
      }
    }
    if (writing.valid()) SLUICE_RETURN_IF_ERROR(writing.get());
    writing = std::async(std::launch::async, [&blocks, &output, &teacher, &config, n] {
      for (int64_t b = 0; b < n; ++b) {
        SLUICE_RETURN_IF_ERROR(output.Write(blocks[b].text));
        if (!config.teacher_output.empty()) SLUICE_RETURN_IF_ERROR(teacher.Write(blocks[b].teacher));
      }
      return Status::Ok();
    });
  }
  if (writing.valid()) SLUICE_RETURN_IF_ERROR(writing.get());
  SLUICE_RETURN_IF_ERROR(output.Finish());
  if (!config.teacher_output.empty()) SLUICE_RETURN_IF_ERROR(teacher.Finish());

  for (size_t t = 1; t < counts.size(); ++t)
    for (int part = 0; part < 2; ++part) counts[0].part[part].Merge(counts[t].part[part]);
  report.samples = config.samples;
  report.distinct_keys = generator.distinct_keys();
  report.train = MakePart(generator.tail_start(), positives[0], loss[0], counts[0].part[0]);
  report.tail = MakePart(config.samples - generator.tail_start(), positives[1], loss[1], counts[0].part[1]);
  report.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (config.report && config.output != "-")
    SLUICE_RETURN_IF_ERROR(WriteFileAtomically(config.output + ".json", report.ToJson()));
  return report;
}

}  // namespace sluice::data
