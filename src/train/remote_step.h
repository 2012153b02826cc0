#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "base/aligned_buffer.h"
#include "embedding/table.h"
#include "service/parameter_client.h"
#include "train/model_state.h"
#include "train/table_set.h"
#include "train/working_set.h"

namespace sluice::train {

// A worker's step where rows and dense parameters live on parameter servers: what is pulled before the net runs and
// pushed after it. docs/algorithms/parameter-service.md.
// Semantics    the pull of batch c is sent once the push of batch c - 1 - `ahead` was: so many of this worker's own
//              steps a batch may miss. Every batch that was asked for in training is sent, in order.
// Memory       rows, gradients and dense parameters of ahead + 2 batches.
// Threads      Request from the host stage, the others from the worker; Stop from any.
// Errors       a StatusError: those of the client.
template <class T>
class RemoteStep {
 public:
  RemoteStep(service::ParameterClient<T>* client, ModelState<T>* state, int64_t ahead);

  // Asks for the rows of set->ids, and in training for the dense parameters. Blocks in training until few enough
  // batches are under way; after Stop it does nothing.
  void Request(WorkingSet* set, embedding::ResolveMode mode);
  // Waits for them: rows into `buffers`, dense parameters into the state.
  void Receive(const WorkingSet& set, RowBuffers<T>* buffers);
  // Sends the gradients of the batch: those of rows in `buffers`, dense_grads [params]; `weight` is the sum of its
  // sample weights.
  void Send(const WorkingSet& set, const RowBuffers<T>& buffers, const T* dense_grads, double weight);
  // The dense parameters and buffers as the servers have them now.
  void PullDense();
  void Stop();

  service::ParameterClient<T>& client() { return *client_; }

 private:
  // What travels for one batch. Kept by its WorkingSet.
  struct InFlight {
    service::Pending pull;
    RowBuffers<T> rows;
    AlignedBuffer<T> params, buffers;
    bool with_dense = false;
    bool requested = false;
    // Lookups are answered soon; of training the client is gone before the batches are.
    ~InFlight() {
      if (requested && !with_dense) (void)pull.Wait();
    }
  };
  static InFlight& Of(const WorkingSet& set) { return *static_cast<InFlight*>(set.remote.get()); }

  service::ParameterClient<T>* client_;
  ModelState<T>* state_;
  const int64_t ahead_;
  std::mutex calls_;  // of the client's functions that one thread at a time may call

  std::mutex mutex_;
  std::condition_variable sent_changed_;
  int64_t sent_;  // the last batch that was pushed
  bool stop_ = false;
};

}  // namespace sluice::train
