#include "train/service_layout.h"

#include <set>

#include "train/checkpointing.h"

namespace sluice::train {

template <class T>
service::ModelLayout LayoutOf(const ModelState<T>& state) {
  service::ModelLayout layout;
  embedding::VirtualIdBuilder& ids = state.tables->ids();
  layout.salts.resize(static_cast<size_t>(ids.num_vocabularies()));
  for (int f = 0; f < state.schema.num_fields(); ++f)
    layout.salts[static_cast<size_t>(ids.vocabulary_of_field(f))] = state.schema.fields[static_cast<size_t>(f)].salt;
  for (int t = 0; t < state.tables->size(); ++t) {
    const nn::TableNeed& need = state.tables->need(t);
    std::set<int> vocabularies;
    for (const int field : need.fields) vocabularies.insert(ids.vocabulary_of_field(field));
    layout.tables.push_back({need.name, need.dim, {vocabularies.begin(), vocabularies.end()}});
  }
  layout.params = state.params.size();
  layout.buffers = state.buffers.size();
  layout.scalar_bytes = sizeof(T);
  layout.description = DescribeModel(state);
  return layout;
}

template service::ModelLayout LayoutOf(const ModelState<float>&);
template service::ModelLayout LayoutOf(const ModelState<double>&);

}  // namespace sluice::train
