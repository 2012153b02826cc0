#include "placement/row_exchange.h"

#include <algorithm>
#include <cstring>

namespace sluice::placement {

template <class T>
std::vector<int64_t> RowExchange<T>::Plan(const std::vector<int64_t>& begin, const std::vector<TableRows<T>>& tables,
                                          std::vector<Part>* parts) const {
  const int ranks = comm_->size();
  const size_t vocabularies = (begin.size() - 1) / static_cast<size_t>(ranks);
  std::vector<int64_t> sizes(static_cast<size_t>(ranks), 0);
  parts->clear();
  for (int r = 0; r < ranks; ++r) {
    int64_t& size = sizes[static_cast<size_t>(r)];
    for (size_t t = 0; t < tables.size(); ++t) {
      for (size_t v = 0; v < vocabularies; ++v) {
        if (!(*tables[t].serves)[v]) continue;
        const size_t p = static_cast<size_t>(r) * vocabularies + v;
        if (begin[p] == begin[p + 1]) continue;
        parts->push_back({t, begin[p], begin[p + 1], size, r});
        size += (begin[p + 1] - begin[p]) * tables[t].dim;
      }
    }
  }
  return sizes;
}

template <class T>
void RowExchange<T>::Pack(const std::vector<Part>& parts, const std::vector<TableRows<T>>& tables,
                          T* TableRows<T>::*rows, const std::vector<int32_t>& index, ThreadPool& pool) {
  pool.ForEach(static_cast<int64_t>(parts.size()), [&](int64_t p, int) {
    const Part& part = parts[static_cast<size_t>(p)];
    const TableRows<T>& table = tables[part.table];
    T* to = messages_.out(part.rank) + part.offset;
    for (int64_t i = part.begin; i < part.end; ++i, to += table.dim)
      std::memcpy(to, table.*rows + index[static_cast<size_t>(i)] * table.dim,
                  static_cast<size_t>(table.dim) * sizeof(T));
  });
}

template <class T>
Status RowExchange<T>::Pull(const RowRoutes& routes, const std::vector<TableRows<T>>& tables, ThreadPool& pool) {
  const auto give = Plan(routes.give_begin, tables, &give_parts_);
  const auto ask = Plan(routes.ask_begin, tables, &ask_parts_);
  messages_.Resize(give, ask);
  Pack(give_parts_, tables, &TableRows<T>::owned, routes.give, pool);
  SLUICE_RETURN_IF_ERROR(messages_.Exchange(comm::Traffic::kRows));
  pool.ForEach(static_cast<int64_t>(ask_parts_.size()), [&](int64_t p, int) {
    const Part& part = ask_parts_[static_cast<size_t>(p)];
    const TableRows<T>& table = tables[part.table];
    const T* from = messages_.in(part.rank) + part.offset;
    for (int64_t i = part.begin; i < part.end; ++i, from += table.dim)
      std::memcpy(table.mine + routes.ask[static_cast<size_t>(i)] * table.dim, from,
                  static_cast<size_t>(table.dim) * sizeof(T));
  });
  return Status::Ok();
}

template <class T>
Status RowExchange<T>::Push(const RowRoutes& routes, const std::vector<TableRows<T>>& tables, ThreadPool& pool) {
  const auto give = Plan(routes.give_begin, tables, &give_parts_);
  const auto ask = Plan(routes.ask_begin, tables, &ask_parts_);
  messages_.Resize(ask, give);
  Pack(ask_parts_, tables, &TableRows<T>::mine, routes.ask, pool);
  SLUICE_RETURN_IF_ERROR(messages_.Exchange(comm::Traffic::kRowGradients));
  // Parts of one table and vocabulary add to the same rows, so a thread takes all ranks of a table.
  pool.ForEach(static_cast<int64_t>(tables.size()), [&](int64_t t, int) {
    const TableRows<T>& table = tables[static_cast<size_t>(t)];
    const auto for_rows = [&](const auto& row) {
      for (const Part& part : give_parts_) {
        if (part.table != static_cast<size_t>(t)) continue;
        const T* from = messages_.in(part.rank) + part.offset;
        for (int64_t i = part.begin; i < part.end; ++i, from += table.dim)
          row(table.owned + routes.give[static_cast<size_t>(i)] * table.dim, from);
      }
    };
    for_rows([&](T* to, const T*) { std::fill(to, to + table.dim, T(0)); });
    for_rows([&](T* to, const T* from) {
      for (int64_t d = 0; d < table.dim; ++d) to[d] += from[d];
    });
  });
  return Status::Ok();
}

template class RowExchange<float>;
template class RowExchange<double>;
template class RowExchange<int64_t>;

}  // namespace sluice::placement
