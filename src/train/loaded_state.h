#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/status.h"
#include "checkpoint/checkpoint_reader.h"
#include "train/checkpointing.h"
#include "train/model_state.h"

namespace sluice::train {

// A checkpoint in memory, whatever its scalar type, for export and inspection.
struct OpenedCheckpoint {
  std::string path;
  std::unique_ptr<checkpoint::CheckpointReader> reader;
  CheckpointHeader header;
  data::Schema schema;
};

// `path` as train/api.h says. Errors: kNotFound, kDataLoss.
inline Result<OpenedCheckpoint> OpenCheckpoint(const std::string& path) {
  OpenedCheckpoint opened;
  SLUICE_ASSIGN_OR_RETURN(opened.path, FindModel(path));
  SLUICE_ASSIGN_OR_RETURN(opened.reader, checkpoint::CheckpointReader::Open(opened.path));
  SLUICE_ASSIGN_OR_RETURN(opened.header, ReadHeader(*opened.reader));
  opened.schema = opened.header.features.MakeSchema();
  return opened;
}

template <class T>
Result<std::unique_ptr<ModelState<T>>> LoadModelState(const OpenedCheckpoint& opened) {
  SLUICE_ASSIGN_OR_RETURN(auto state, ModelState<T>::Make(opened.header.config, opened.schema));
  SLUICE_RETURN_IF_ERROR(LoadState(*opened.reader, state.get()));
  return state;
}

}  // namespace sluice::train
