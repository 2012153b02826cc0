#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "data/features.h"
#include "data/schema.h"
#include "nn/net.h"
#include "nn/presets.h"
#include "optim/schedule.h"
#include "optim/update_rule.h"
#include "train/config.h"
#include "train/table_set.h"

namespace sluice::train {

// A model with everything that training changes in it: dense parameters, buffers and optimizer slots in flat spans, and
// the tables. What a checkpoint holds beside the place in the data.
// Threads      as its parts; nothing here locks.
template <class T>
struct ModelState {
  // Parameters and tables as new: functions of config.seed. Errors: kInvalidArgument naming the setting.
  static Result<std::unique_ptr<ModelState>> Make(const RunConfig& config, const data::Schema& schema);

  // Exchanges the net for one in another form, with the same parameters and tables. Errors: as nn::Net::Build.
  Status TakeForm(nn::PartialForm form);

  data::Schema schema;
  nn::NetSpec spec;
  std::unique_ptr<nn::Net<T>> net;
  std::unique_ptr<TableSet<T>> tables;
  AlignedBuffer<T> params;   // [net->params().size()]
  AlignedBuffer<T> buffers;  // [net->buffers().size()]
  AlignedBuffer<T> slots;    // [NumSpanSlots(rule.kind, params.size())]
  optim::Rule rule;
  optim::Schedule schedule;

  // One hash of every row, slot and dense parameter; independent of storage order.
  uint64_t Digest() const;

 private:
  explicit ModelState(optim::Schedule s) : schedule(std::move(s)) {}
};

// The precision that a configuration names; kFp32 for bf16 where bf16 products are slower (Bf16ProductsPay), which is
// said once in the log. REQUIRES: a validated configuration.
nn::Precision PrecisionOf(const RunConfig& config);

// Whether the model's preset (or custom graph) reads numeric features as numbers; where it does not, they become keys.
bool WantsDenseInput(const nn::ModelConfig& model);

}  // namespace sluice::train
