#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "data/synth.h"

namespace sluice::data {

// One drawn sample. Columns are in the order of the file.
struct SynthSample {
  static constexpr int64_t kMissing = INT64_MIN;
  std::vector<int64_t> integers;   // [dense], kMissing where empty
  std::vector<int32_t> offsets;    // [fields + 1]
  std::vector<uint32_t> indices;   // [nnz] rank of the key in its field, 0 the most frequent
  std::vector<uint32_t> renewals;  // [nnz] how often the key was replaced before this sample (churn)
  std::vector<Key> keys;           // [nnz]; text is the high 32 bits
};

// The distribution of samples and the planted teacher. Nothing is stored per key: a key's share in the logit is a hash of
// (seed, field, key), scaled down with the key's rank so that most of the signal lies where there is data to learn from.
//   logit = intercept + scale (sqrt(1 - r) linear + sqrt(r) product),  r = interaction
//   linear   sum over columns of strength_c a(rank) w(key), and strength_c log(1 + x) of the integers
//   product  sum over pairs of some of the smaller fields of <a v(key) - m, a' v(key') - m'>, v of kRank numbers and m the
//            field's mean, without which a linear model could learn part of the products
// linear and product are brought to mean 0 and deviation 1, scale and intercept set for config.auc and config.base_rate,
// all on kCalibration samples drawn apart.
// Threads      const calls may overlap.
class SynthModel {
 public:
  static constexpr int kRank = 2;

  explicit SynthModel(const SynthConfig& config);

  // `progress` in [0, 1): how much of the file lies before the sample.
  void Draw(uint64_t sample, double progress, SynthSample* out) const;

  struct Score {
    double logit = 0;
    double linear_logit = 0;  // without the products
  };
  Score ScoreOf(const SynthSample& sample) const;

  int64_t num_fields() const { return static_cast<int64_t>(fields_.size()); }
  int64_t cardinality(int64_t field) const { return fields_[field].cardinality; }

 private:
  struct Column {  // power law by linear interpolation of u^skew * cardinality
    std::vector<float> quantiles;
    double missing = 0;
    float strength = 1;
    float sign = 1;
  };
  struct Field : Column {
    int64_t cardinality = 0;
    uint64_t salt = 0;
    bool in_product = false;
    std::array<float, kRank> mean{};  // of a v(key)
  };
  struct Parts {
    double linear = 0, product = 0;
  };

  void MakeColumns();
  void CentreProducts();
  void Calibrate();
  // Adds the key's vector, scaled, to `vector`.
  void AddVector(uint32_t index, Key key, float scale, std::array<float, kRank>* vector) const;
  Parts PartsOf(const SynthSample& sample) const;

  SynthConfig config_;
  std::vector<Column> integers_;
  std::vector<Field> fields_;
  double linear_mean_ = 0, linear_scale_ = 1, product_mean_ = 0, product_scale_ = 1;
  double scale_ = 1, intercept_ = 0;
};

}  // namespace sluice::data
