#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "data/batch.h"
#include "data/schema.h"

namespace sluice::data {

// Counts since the source was opened (kept across Seek).
struct SourceStats {
  int64_t samples = 0;
  int64_t bytes = 0;              // of input text or packed data, after decompression
  int64_t skipped_lines = 0;      // bad lines, where data.on_bad_line is skip
  int64_t dropped_negatives = 0;  // by data.negative_keep_rate
};

// A stream of batches in one fixed order, whatever the number of reader threads.
// Threads      one consumer; an implementation may read ahead on threads of its own.
// Errors       kDataLoss names file, line and column; kIo names the file. After a failure only destruction is allowed.
class BatchSource {
 public:
  virtual ~BatchSource() = default;

  virtual const Schema& schema() const = 0;

  // Fills `batch` with the next samples, batch_size of them except at the end of the stream (epochs follow one another;
  // a batch does not cross the end of an epoch). False, and an empty batch, at the end.
  virtual Result<bool> Next(Batch* batch) = 0;

  // Where the stream stands after the last batch that Next returned, as opaque text for a checkpoint. Cheap.
  virtual std::string position() const = 0;

  // Continues from a position of a source with the same settings. Compressed files are skipped through, standard input
  // returns kInvalidArgument. REQUIRES: before the first Next.
  virtual Status Seek(const std::string& position) = 0;

  virtual SourceStats stats() const = 0;
};

}  // namespace sluice::data
