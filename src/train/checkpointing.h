#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"
#include "data/features.h"
#include "metric/progressive.h"
#include "train/config.h"
#include "train/model_state.h"
#include "train/progress.h"
#include "train/rank_keys.h"

namespace sluice::train {

// Everything in a checkpoint that does not depend on the scalar type.
struct CheckpointHeader {
  RunConfig config;  // with the features resolved
  data::FittedFeatures features;
  Progress progress;
  bool fp64 = false;
};

// Sections of a training checkpoint: config.yaml, features.json, state.json, model.json (names and shapes of the dense
// parameters, widths of the tables); dense/{params,slots,buffers}; table/<name>/...; progressive/...
//
// Writes one consistent cut as `<folder>/step-...` and returns its path. REQUIRES: nothing in flight.
// `progressive` may be null. With several ranks (`ranks` not null) collective: every rank writes the rows that it owns
// into one folder, which all must reach; rank 0 writes the rest and commits. A failure of one is the failure of all.
template <class T>
Result<std::string> SaveCheckpoint(const std::string& folder, const CheckpointHeader& header,
                                   const ModelState<T>& state, const metric::ProgressiveEvaluator* progressive,
                                   const RankContext* ranks = nullptr);

// The rows of table `table` of a state from a checkpoint; with several ranks those that this one owns, however they
// were placed when it was written.
template <class T>
Status LoadTable(const checkpoint::CheckpointReader& reader, int table, const embedding::LoadOptions& options,
                 const RankContext* ranks, ModelState<T>* state);

Result<CheckpointHeader> ReadHeader(const checkpoint::CheckpointReader& reader);

// Fills a new state from a checkpoint of the same model. Errors: kInvalidArgument naming the first parameter or table
// that differs; kDataLoss.
// With several ranks only the rows that this one owns, however they were placed when it was written.
template <class T>
Status LoadState(const checkpoint::CheckpointReader& reader, ModelState<T>* state, const RankContext* ranks = nullptr,
                 const embedding::LoadOptions& options = {});

// ---- parameter servers: processes that write one checkpoint together and are no ranks of one communicator. Server
// `server` of `servers` has its shards of the tables.

// Its shards, into files of its own; the first one's come with the tables' headers. `total_rows`: of all servers.
template <class T>
Status WriteServerTables(checkpoint::CheckpointWriter* writer, const ModelState<T>& state, int server,
                         const std::vector<int64_t>& total_rows);
// Everything else, by the first server; `service` is kept as section service/state.json.
template <class T>
Status WriteServerModel(checkpoint::CheckpointWriter* writer, const CheckpointHeader& header,
                        const ModelState<T>& state, const std::string& service);
// Commits what all have written, as SaveCheckpoint does.
Result<std::string> CommitServerCheckpoint(checkpoint::CheckpointWriter* writer, const Progress& progress,
                                           const std::vector<std::string>& others_sections);
// Its rows, and the dense arrays whole, from any checkpoint of the model.
template <class T>
Status LoadServerState(const checkpoint::CheckpointReader& reader, ModelState<T>* state, int server, int servers);
// Section service/state.json; empty where no parameter servers wrote the checkpoint.
Result<std::string> ReadServiceState(const checkpoint::CheckpointReader& reader);

// The states of the schedules, between a model and what a checkpoint says of a run.
template <class T>
void CaptureSchedules(ModelState<T>& state, Progress* progress);
template <class T>
void RestoreSchedules(const Progress& progress, ModelState<T>* state);

// Of a run folder its best checkpoint where early stopping keeps one, else what checkpoint::FindCheckpoint says.
Result<std::string> FindModel(const std::string& path);

// What the dense net and the tables of a state look like, as JSON: model.json.
template <class T>
std::string DescribeModel(const ModelState<T>& state);

}  // namespace sluice::train
