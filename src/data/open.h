#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "data/config.h"
#include "data/features.h"
#include "data/range_reader.h"
#include "data/source.h"

namespace sluice::data {

enum class Purpose {
  kTrain,    // data.train without the validation side of the split; shuffled, negatives down-sampled
  kEval,     // data.eval, or the validation side of the split; file order, every sample
  kPredict,  // data.eval, or data.train where that is empty; file order, every sample, labels may be absent
};

// Which share of every global batch a source delivers: rank's samples of ChunksOfPart (base/chunks.h).
struct Slice {
  int rank = 0;
  int size = 1;
};

struct OpenOptions {
  Purpose purpose = Purpose::kTrain;
  int64_t batch_size = 2048;
  int64_t epochs = 1;          // kTrain only
  uint64_t seed = 1;           // of shuffle and negatives; the split does not depend on it
  int num_reader_threads = 1;  // 0: Next itself reads and parses
  // size > 1: every batch holds this rank's samples alone (perhaps none) of the global batch that one process would
  // get; Batch::global_size says how large that is and first_sample counts global samples. Positions and counts are
  // those of one process, equal on every rank. All input is read, but only this rank's samples are parsed; where
  // data.on_bad_line is skip all are, as a line's worth shows only then.
  Slice slice = {};
  // count > 0: this stretch of one pass alone, batches of its own; it may be empty. Windows of a shuffle end with it,
  // and positions belong to it. Not together with slice.
  InputRange range = {};
};

// Opens a stream of batches. The stream is a function of the settings and the files' content, whatever the threads.
// Memory       bounded by block_bytes, num_reader_threads, shuffle_window and batch_size, whatever the files' length.
// Errors       kNotFound for a missing file or a glob without match, kIo for a folder or an unreadable file, kDataLoss
//              for an empty or malformed file, kInvalidArgument for options that do not go together.
Result<std::unique_ptr<BatchSource>> OpenSource(const DataConfig& data, const FittedFeatures& features,
                                                const OpenOptions& options);

// What InputRange divides: bytes of text after decompression, or packed samples. kTrain only.
Result<int64_t> InputSize(const DataConfig& data, const FittedFeatures& features);

// log(negative_keep_rate). A model trained on down-sampled negatives overstates the odds by 1 / rate, so its logit plus
// this is the logit of the whole population: p = sigmoid(logit + LogitCorrection).
double LogitCorrection(const DataConfig& data);

// True where an evaluation source would have samples: data.eval or a split.
bool HasEvaluation(const DataConfig& data);

// Writes all samples of `source` (from its current position) to a packed file: columns in blocks, each with a checksum,
// and the features and labels in its header. Written aside and renamed; nothing is left on failure. Returns the samples
// written.
Result<int64_t> Pack(BatchSource* source, const FittedFeatures& features, const std::string& path);

// data.format, with auto decided by the name of the first file; criteo where the name says nothing.
std::string ResolveFormat(const DataConfig& data);

}  // namespace sluice::data
