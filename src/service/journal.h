#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "service/engine.h"

namespace sluice::service {

// What a server must not forget between two checkpoints, one line of JSON each: clients that came, input that was lent,
// finished or given back, and clients that are gone with the number of their last applied push. A server that was
// killed reads it on top of its newest checkpoint, so that no range of the input is lent twice, those of a client that
// does not come back are given to others, and pushes that nobody will send again are counted.
// Semantics    lines from before the checkpoint's cut are passed over. A torn last line is left out. Lines survive the
//              process; after the loss of the machine the last ones may be missing, and their ranges are trained on
//              once more.
// Threads      any.
// Errors       kIo naming the file; after one nothing is written any more, and the server says so once.
class Journal {
 public:
  // Goes on in `path`, or makes it.
  static Result<std::unique_ptr<Journal>> Open(const std::string& path);
  // A new one in the place of `path`, at once or not at all: the servers go back to a checkpoint, and what happened
  // since, or whom it knows, counts no more.
  static Status Begin(const std::string& path, int64_t generation);

  void Joined(uint64_t client, const std::string& name, bool worker, int64_t start);
  void Offered(const InputPlan& plan);
  void Lent(int64_t lease, uint64_t client);
  void Finished(int64_t lease, int64_t samples);
  void Returned(int64_t lease, int64_t samples);
  // A checkpoint's state was taken: what comes before is in it, if it is the one that is recovered from.
  void Cut(uint64_t cut);
  // `lost`: silent for too long, and refused from now on.
  void Gone(uint64_t client, uint64_t applied, bool lost);

 private:
  void Write(const std::string& line);
  std::mutex mutex_;
  FileWriter file_;
  bool failed_ = false;
};

// What the journal at `path` says, applied to the state of a checkpoint (or to an empty one). No file: nothing.
// Errors: kDataLoss naming file and line, kIo.
Status RecoverFromJournal(const std::string& path, ServiceState* state);

}  // namespace sluice::service
