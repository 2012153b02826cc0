#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/features.h"
#include "data/open.h"
#include "data/source.h"
#include "metric/metrics.h"
#include "placement/ranks.h"
#include "train/config.h"
#include "train/evaluation.h"

namespace sluice::train {

// Several ranks that score with one model together, each holding the rows that it owns.
struct ModelRanks {
  placement::Ranks* ranks = nullptr;  // null: one process
  bool are_processes = false;         // else threads, which have one configuration, files and processor
  bool sharded_input = false;         // each rank parses its own samples of a batch alone
};

// A trained model, loaded for scoring: what a C++ program uses to serve, and what `sluice eval` and `predict` stand on.
// Semantics    keys are looked up and never inserted; a key without a row reads what the table's on_missing says.
// Threads      one call at a time; each works on the model's own pool.
// Distributed  of several ranks, Load, Open, Score and Evaluate are collective. Rows travel to the ranks with the
//              samples (placement rows_a2a) however the model was trained, in full precision: the scores are those of
//              one process (docs/determinism.md), and each rank is given all of them.
class Model {
 public:
  // `path`: a checkpoint, or a run folder (its best checkpoint, else its newest). `overrides` change the checkpoint's
  // configuration: "data.eval=...", "threads=4". Errors: kNotFound, kDataLoss, kInvalidArgument.
  // `adjust`, where given, changes it after them. With several ranks rank 0 finds the checkpoint, and ranks that see
  // other files, settings or programs are refused, naming what differs.
  static Result<std::unique_ptr<Model>> Load(const std::string& path, const std::vector<std::string>& overrides = {},
                                             const std::function<void(RunConfig*)>& adjust = nullptr,
                                             const ModelRanks& ranks = {});
  // The configuration alone, by one process.
  static Result<RunConfig> ConfigOf(const std::string& path, const std::vector<std::string>& overrides);
  ~Model();

  const std::string& path() const;
  const RunConfig& config() const;
  const data::FittedFeatures& features() const;
  const data::Schema& schema() const;

  // A stream over the configuration's held-out data (kEval), or over data.eval with labels that may be absent
  // (kPredict).
  Result<std::unique_ptr<data::BatchSource>> Open(data::Purpose purpose) const;

  // Probabilities (or a regression's predictions) [batch size, num_labels] of one batch of this schema. The batch is
  // lent for the call and comes back unchanged. REQUIRES: one process.
  Status Predict(data::Batch* batch, std::vector<float>* predictions);

  // Logits (or predictions of a regression) of a whole source, batch by batch.
  Status Score(data::BatchSource* source, const ScoreVisitor& visit);
  Result<metric::Metrics> Evaluate(data::BatchSource* source);

 private:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::train
