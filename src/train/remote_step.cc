#include "train/remote_step.h"

#include <utility>

#include "train/must.h"

namespace sluice::train {

template <class T>
RemoteStep<T>::RemoteStep(service::ParameterClient<T>* client, ModelState<T>* state, int64_t ahead)
    : client_(client), state_(state), ahead_(ahead), sent_(client->info().last_clock) {}

template <class T>
void RemoteStep<T>::Request(WorkingSet* set, embedding::ResolveMode mode) {
  if (set->remote == nullptr) set->remote = std::make_shared<InFlight>();
  InFlight& flight = Of(*set);
  flight.requested = false;
  flight.with_dense = mode == embedding::ResolveMode::kTrain;
  if (flight.with_dense) {
    std::unique_lock lock(mutex_);
    sent_changed_.wait(lock, [&] { return stop_ || sent_ >= set->step - 1 - ahead_; });
    if (stop_) return;
  }
  state_->tables->PrepareBuffers(set->ids, &flight.rows);
  service::PullRequest<T> request;
  request.ids = &set->ids;
  request.mode = mode;
  for (auto& rows : flight.rows.rows) request.rows.push_back(rows.data());
  if (flight.with_dense) {
    request.clock = set->step;
    flight.params.Resize(state_->params.size());
    flight.buffers.Resize(state_->buffers.size());
    request.params = flight.params.data();
    if (flight.buffers.size() > 0) request.buffers = flight.buffers.data();
  }
  std::lock_guard lock(calls_);
  flight.pull = client_->Pull(request);
  flight.requested = true;
}

template <class T>
void RemoteStep<T>::Receive(const WorkingSet& set, RowBuffers<T>* buffers) {
  InFlight& flight = Of(set);
  if (!flight.requested) throw StatusError(Status(StatusCode::kCancelled, "the run is ending"));
  flight.requested = false;
  Must(flight.pull.Wait());
  std::swap(*buffers, flight.rows);
  if (!flight.with_dense) return;
  std::swap(state_->params, flight.params);
  if (flight.buffers.size() > 0) std::swap(state_->buffers, flight.buffers);
}

template <class T>
void RemoteStep<T>::Send(const WorkingSet& set, const RowBuffers<T>& buffers, const T* dense_grads, double weight) {
  service::PushRequest<T> request;
  request.ids = &set.ids;
  request.clock = set.step;
  for (const auto& grads : buffers.grads) request.grads.push_back(grads.data());
  request.dense_grads = dense_grads;
  if (state_->buffers.size() > 0) request.buffers = state_->buffers.data();
  request.weight = weight;
  request.samples = set.batch.size;
  for (size_t i = 0; i < set.leases.size(); ++i) request.leases[i] = {set.leases[i].lease.id, set.leases[i].samples};
  {
    std::lock_guard lock(calls_);
    client_->Push(request);  // what becomes of it comes back from a later call
  }
  {
    std::lock_guard lock(mutex_);
    sent_ = set.step;
  }
  sent_changed_.notify_all();
}

template <class T>
void RemoteStep<T>::PullDense() {
  service::PullRequest<T> request;
  request.mode = embedding::ResolveMode::kLookup;
  request.params = state_->params.data();
  if (state_->buffers.size() > 0) request.buffers = state_->buffers.data();
  service::Pending pull;
  {
    std::lock_guard lock(calls_);
    pull = client_->Pull(request);
  }
  Must(pull.Wait());
}

template <class T>
void RemoteStep<T>::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  sent_changed_.notify_all();
}

template class RemoteStep<float>;
template class RemoteStep<double>;

}  // namespace sluice::train
