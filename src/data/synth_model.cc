#include "data/synth_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice::data {
namespace {

constexpr int kPieces = 1024;  // of a column's quantile function
constexpr int kCalibration = 1 << 16;
constexpr float kHead = 6.0f;  // keys of a higher rank matter less and less
constexpr uint64_t kProgressStream = 0x9609;
constexpr uint64_t kCalibrationStart = uint64_t{1} << 62;

std::vector<float> PowerLawQuantiles(double skew, double cardinality) {
  std::vector<float> quantiles(kPieces + 1);
  for (int i = 0; i <= kPieces; ++i)
    quantiles[i] = static_cast<float>(std::pow(static_cast<double>(i) / kPieces, skew) * cardinality);
  return quantiles;
}

// The high 10 bits pick a piece, the next 24 the place in it.
float Interpolate(const std::vector<float>& quantiles, uint64_t bits) {
  const auto piece = bits >> 54;
  const float place = static_cast<float>((bits >> 30) & 0xffffff) * 0x1.0p-24f;
  return quantiles[piece] + (quantiles[piece + 1] - quantiles[piece]) * place;
}

// Independent of the bits that Interpolate uses.
double LowUniform(uint64_t bits) { return static_cast<double>(bits & 0x3fffffff) * 0x1.0p-30; }

// Uniform with mean 0 and deviation 1 from 16 bits.
float Centred(uint64_t bits16) { return (static_cast<float>(bits16 & 0xffff) - 32767.5f) * (1.7320508f / 32768.0f); }

// The share of signal that the key of this rank carries.
float Amplitude(uint32_t rank) { return 1.0f / (1.0f + static_cast<float>(rank) / kHead); }

double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// The AUC to be expected when labels are drawn with these probabilities, ascending.
double ExpectedAuc(const std::vector<double>& probabilities) {
  double negatives = 0, ordered = 0, positives = 0, same = 0;
  for (double p : probabilities) {
    ordered += p * negatives;
    negatives += 1 - p;
    positives += p;
    same += p * (1 - p);
  }
  return ordered / (positives * negatives - same);
}

// Intercept that gives mean sigmoid(intercept + scale z) = rate, by Newton's method from `start`.
double SolveIntercept(const std::vector<double>& z, double scale, double rate, double start) {
  double intercept = start;
  for (int iteration = 0; iteration < 50; ++iteration) {
    double mean = 0, slope = 0;
    for (double value : z) {
      const double p = Sigmoid(intercept + scale * value);
      mean += p;
      slope += p * (1 - p);
    }
    const double step = (mean - rate * static_cast<double>(z.size())) / std::max(slope, 1e-9);
    intercept -= std::clamp(step, -1.0, 1.0);
    if (std::abs(step) < 1e-9) break;
  }
  return intercept;
}

void MeanAndScale(const std::vector<double>& values, double* mean, double* scale) {
  const double n = static_cast<double>(values.size());
  *mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double variance = 0;
  for (double value : values) variance += (value - *mean) * (value - *mean);
  *scale = variance > 0 ? 1 / std::sqrt(variance / n) : 0;
}

}  // namespace

SynthModel::SynthModel(const SynthConfig& config) : config_(config) {
  MakeColumns();
  CentreProducts();
  Calibrate();
}

void SynthModel::MakeColumns() {
  const CounterRng rng(static_cast<uint64_t>(config_.seed), 0xc01);
  integers_.resize(config_.dense);
  for (size_t c = 0; c < integers_.size(); ++c) {
    Column& column = integers_[c];
    column.quantiles =
        PowerLawQuantiles(3 + 4 * rng.Uniform(4 * c), std::pow(10.0, 1.5 + 3.5 * rng.Uniform(4 * c + 1)));
    column.missing = c % 3 == 0 ? 0 : config_.missing;
    column.strength = static_cast<float>(0.1 + 0.3 * rng.Uniform(4 * c + 2));
    column.sign = rng.Uniform(4 * c + 3) < 0.5 ? -1.0f : 1.0f;
  }
  // Sizes are a geometric ladder from a few keys to config.rows, dealt to the fields in an order that looks random.
  const int64_t n = config_.fields;
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  const CounterRng deal(static_cast<uint64_t>(config_.seed), 0xdea1);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return deal.Bits(a) < deal.Bits(b); });
  fields_.resize(n);
  int64_t largest = 2;
  for (const int64_t rows : config_.rows_of_fields) largest = std::max(largest, rows);
  for (int64_t place = 0; place < n; ++place) {
    const int64_t f = order[place];
    const double share = static_cast<double>(place + 1) / static_cast<double>(n);
    double exponent = 0.1 + 0.9 * share * share;
    Field& field = fields_[f];
    field.cardinality = std::max<int64_t>(2, std::llround(std::pow(static_cast<double>(config_.rows), exponent)));
    if (!config_.rows_of_fields.empty()) {
      field.cardinality = config_.rows_of_fields[static_cast<size_t>(f)];
      exponent = std::log(static_cast<double>(field.cardinality)) / std::log(static_cast<double>(largest));
    }
    field.quantiles = PowerLawQuantiles(1 + (config_.skew - 1) * exponent, static_cast<double>(field.cardinality));
    field.salt = MixPair(static_cast<uint64_t>(config_.seed), 0xf1e1d000 + static_cast<uint64_t>(f));
    field.missing = f % 4 == 3 ? config_.missing / 2 : 0;
    field.strength = static_cast<float>(0.5 + deal.Uniform(n + f));
    field.in_product = n < 6 || (share > 0.15 && share < 0.34);
  }
}

void SynthModel::Draw(uint64_t sample, double progress, SynthSample* out) const {
  const CounterRng rng(static_cast<uint64_t>(config_.seed), sample);
  uint64_t counter = 0;
  out->integers.resize(integers_.size());
  for (size_t c = 0; c < integers_.size(); ++c) {
    const uint64_t bits = rng.Bits(counter++);
    const Column& column = integers_[c];
    // The second column counts from -1, as one of Criteo's does.
    out->integers[c] = LowUniform(bits) < column.missing
                           ? SynthSample::kMissing
                           : static_cast<int64_t>(Interpolate(column.quantiles, bits)) - (c == 1 ? 1 : 0);
  }
  out->offsets.resize(fields_.size() + 1);
  out->indices.clear();
  out->renewals.clear();
  out->keys.clear();
  const auto most_keys = static_cast<uint64_t>(std::llround(2 * config_.keys_per_field - 1));
  for (size_t f = 0; f < fields_.size(); ++f) {
    const Field& field = fields_[f];
    out->offsets[f] = static_cast<int32_t>(out->keys.size());
    uint64_t num_keys = 1;
    if (!config_.keys_of_fields.empty())
      num_keys = static_cast<uint64_t>(config_.keys_of_fields[f]);
    else if (most_keys > 1)
      num_keys = 1 + rng.Below(counter++, most_keys);
    for (uint64_t k = 0; k < num_keys; ++k) {
      const uint64_t bits = rng.Bits(counter++);
      if (config_.keys_of_fields.empty() && LowUniform(bits) < field.missing) continue;
      const auto last = static_cast<uint32_t>(field.cardinality - 1);
      const auto index = std::min(static_cast<uint32_t>(Interpolate(field.quantiles, bits)), last);
      uint32_t renewal = 0;
      if (config_.churn > 0) {
        // Each key is renewed at moments of its own.
        const double phase = static_cast<double>(Mix64(field.salt ^ index) >> 11) * 0x1.0p-53;
        renewal = static_cast<uint32_t>(progress * config_.churn + phase);
      }
      out->indices.push_back(index);
      out->renewals.push_back(renewal);
      out->keys.push_back(Mix64(field.salt + index + (static_cast<uint64_t>(renewal) << 32)));
    }
  }
  out->offsets.back() = static_cast<int32_t>(out->keys.size());
}

void SynthModel::AddVector(uint32_t index, Key key, float scale, std::array<float, kRank>* vector) const {
  const float amplitude = Amplitude(index) * scale;
  const uint64_t bits = Mix64(key ^ 0x9a17);
  for (int r = 0; r < kRank; ++r) (*vector)[r] += amplitude * Centred(bits >> (16 * r));
}

void SynthModel::CentreProducts() {
  const CounterRng progress(static_cast<uint64_t>(config_.seed), kProgressStream);
  std::vector<std::array<double, kRank>> sums(fields_.size());
  SynthSample sample;
  for (int i = 0; i < kCalibration; ++i) {
    Draw(kCalibrationStart + static_cast<uint64_t>(i), progress.Uniform(i), &sample);
    for (size_t f = 0; f < fields_.size(); ++f) {
      std::array<float, kRank> vector{};
      const int32_t begin = sample.offsets[f], end = sample.offsets[f + 1];
      for (int32_t k = begin; k < end; ++k)
        AddVector(sample.indices[k], sample.keys[k], 1.0f / static_cast<float>(end - begin), &vector);
      for (int r = 0; r < kRank; ++r) sums[f][r] += vector[r];
    }
  }
  for (size_t f = 0; f < fields_.size(); ++f)
    for (int r = 0; r < kRank; ++r) fields_[f].mean[r] = static_cast<float>(sums[f][r] / kCalibration);
}

SynthModel::Parts SynthModel::PartsOf(const SynthSample& sample) const {
  Parts parts;
  for (size_t c = 0; c < integers_.size(); ++c) {
    const int64_t x = sample.integers[c];
    if (x == SynthSample::kMissing) continue;
    const double log = std::log1p(std::abs(static_cast<double>(x)));
    parts.linear += integers_[c].strength * integers_[c].sign * (x < 0 ? -log : log);
  }
  std::array<float, kRank> sum{};
  float squares = 0;
  for (size_t f = 0; f < fields_.size(); ++f) {
    const Field& field = fields_[f];
    const int32_t begin = sample.offsets[f], end = sample.offsets[f + 1];
    const float share = 1.0f / static_cast<float>(std::max(end - begin, 1));
    float linear = 0;
    std::array<float, kRank> vector{};
    for (int32_t k = begin; k < end; ++k) {
      linear += Amplitude(sample.indices[k]) * share * Centred(Mix64(sample.keys[k] ^ 0x11aea7));
      if (field.in_product) AddVector(sample.indices[k], sample.keys[k], share, &vector);
    }
    parts.linear += field.strength * linear;
    if (!field.in_product) continue;
    for (int r = 0; r < kRank; ++r) {
      vector[r] -= field.mean[r];
      sum[r] += vector[r];
      squares += vector[r] * vector[r];
    }
  }
  float square_of_sum = 0;
  for (int r = 0; r < kRank; ++r) square_of_sum += sum[r] * sum[r];
  parts.product = 0.5f * (square_of_sum - squares);
  return parts;
}

void SynthModel::Calibrate() {
  std::vector<double> linear(kCalibration), product(kCalibration), z(kCalibration);
  const CounterRng progress(static_cast<uint64_t>(config_.seed), kProgressStream);
  SynthSample sample;
  for (int i = 0; i < kCalibration; ++i) {
    Draw(kCalibrationStart + static_cast<uint64_t>(i), progress.Uniform(i), &sample);
    const Parts parts = PartsOf(sample);
    linear[i] = parts.linear;
    product[i] = parts.product;
  }
  MeanAndScale(linear, &linear_mean_, &linear_scale_);
  MeanAndScale(product, &product_mean_, &product_scale_);
  linear_scale_ *= std::sqrt(1 - config_.interaction);
  product_scale_ *= std::sqrt(config_.interaction);
  for (int i = 0; i < kCalibration; ++i)
    z[i] = (linear[i] - linear_mean_) * linear_scale_ + (product[i] - product_mean_) * product_scale_;
  std::sort(z.begin(), z.end());
  // The expected AUC grows with the scale: bisection.
  double low = 0, high = 16;
  std::vector<double> probabilities(kCalibration);
  intercept_ = std::log(config_.base_rate / (1 - config_.base_rate));
  for (int iteration = 0; iteration < 24; ++iteration) {
    scale_ = 0.5 * (low + high);
    intercept_ = SolveIntercept(z, scale_, config_.base_rate, intercept_);
    for (int i = 0; i < kCalibration; ++i) probabilities[i] = Sigmoid(intercept_ + scale_ * z[i]);
    (ExpectedAuc(probabilities) < config_.auc ? low : high) = scale_;
  }
}

SynthModel::Score SynthModel::ScoreOf(const SynthSample& sample) const {
  const Parts parts = PartsOf(sample);
  const double linear = (parts.linear - linear_mean_) * linear_scale_;
  const double product = (parts.product - product_mean_) * product_scale_;
  return {intercept_ + scale_ * (linear + product), intercept_ + scale_ * linear};
}

}  // namespace sluice::data
