#pragma once

#include <span>

#include "base/chunks.h"
#include "base/status.h"

namespace sluice::sync {

// How the replicas of a dense net agree with one another. It sees flat spans of gradients or parameters, never layers
// or tables: what a span means is the net's business (nn/params.h).
// Semantics    the worker calls, in every step: GradientsFinal during backward, for parts that do not overlap; then
//              BeforeUpdate, after which the dense optimizer runs on `gradients`. Between steps, at evaluations and at
//              checkpoints, no call is under way. A synchroniser that exchanges parameters on a thread of its own
//              leaves the gradients alone and reports here what went wrong there.
// Memory       `gradients`, the whole flat gradient, stays valid and in its place until BeforeUpdate returned or the
//              synchroniser is gone.
// Threads      GradientsFinal on any threads, several at a time; BeforeUpdate on one, when no GradientsFinal is under
//              way.
// Distributed  every rank has one, for spans of the same size, and takes the same steps; ranks may report parts in any
//              order, or none.
// Errors       from BeforeUpdate: what the communicator says. The synchroniser is then unfit to go on.
template <class T>
class DenseSync {
 public:
  virtual ~DenseSync() = default;

  // The gradient in `part` is final on this rank: nobody writes there any more until BeforeUpdate returned.
  virtual void GradientsFinal(std::span<T> gradients, Range part) = 0;
  // All of it is final, reported or not. Returns when `gradients` is what the optimizer shall apply.
  virtual Status BeforeUpdate(std::span<T> gradients) = 0;
};

}  // namespace sluice::sync
