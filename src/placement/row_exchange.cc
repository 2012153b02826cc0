#include "placement/row_exchange.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "base/bf16.h"

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
Status RowExchange<T>::Exchange(const std::vector<int64_t>& out_sizes, const std::vector<int64_t>& in_sizes,
                                comm::Traffic traffic) {
  const bool bf16 = std::is_same_v<T, float> && wire_ == comm::Wire::kBf16;
  const auto self = static_cast<size_t>(comm_->rank());
  std::vector<std::span<const std::byte>> send(out_.size());
  std::vector<std::span<std::byte>> receive(in_.size());
  wire_out_.resize(out_.size());
  wire_in_.resize(in_.size());
  for (size_t r = 0; r < out_.size(); ++r) {
    if (r == self) continue;
    if constexpr (std::is_same_v<T, float>) {
      if (bf16) {
        wire_out_[r].resize(static_cast<size_t>(out_sizes[r]));
        wire_in_[r].resize(static_cast<size_t>(in_sizes[r]));
        FloatToBf16(out_[r].data(), wire_out_[r].data(), out_sizes[r]);
        send[r] = std::as_bytes(std::span(wire_out_[r]));
        receive[r] = std::as_writable_bytes(std::span(wire_in_[r]));
        continue;
      }
    }
    send[r] = std::as_bytes(std::span(out_[r].data(), static_cast<size_t>(out_sizes[r])));
    receive[r] = std::as_writable_bytes(std::span(in_[r].data(), static_cast<size_t>(in_sizes[r])));
  }
  SLUICE_RETURN_IF_ERROR(comm_->AllToAll(send, receive, traffic));
  if constexpr (std::is_same_v<T, float>) {
    for (size_t r = 0; bf16 && r < in_.size(); ++r)
      if (r != self) Bf16ToFloat(wire_in_[r].data(), in_[r].data(), in_sizes[r]);
  }
  std::swap(in_[self], out_[self]);
  return Status::Ok();
}

template <class T>
void RowExchange<T>::MakeRoom(const std::vector<int64_t>& give, const std::vector<int64_t>& ask) {
  out_.resize(static_cast<size_t>(comm_->size()));
  in_.resize(out_.size());
  for (size_t r = 0; r < out_.size(); ++r) {
    out_[r].resize(std::max(out_[r].size(), static_cast<size_t>(std::max(give[r], ask[r]))));
    in_[r].resize(out_[r].size());
  }
}

template <class T>
Status RowExchange<T>::Pull(const RowRoutes& routes, const std::vector<TableRows<T>>& tables, ThreadPool& pool) {
  const auto give = Plan(routes.give_begin, tables, &give_parts_);
  const auto ask = Plan(routes.ask_begin, tables, &ask_parts_);
  MakeRoom(give, ask);
  pool.ForEach(static_cast<int64_t>(give_parts_.size()), [&](int64_t p, int) {
    const Part& part = give_parts_[static_cast<size_t>(p)];
    const TableRows<T>& table = tables[part.table];
    T* to = out_[static_cast<size_t>(part.rank)].data() + part.offset;
    for (int64_t i = part.begin; i < part.end; ++i, to += table.dim)
      std::memcpy(to, table.owned + routes.give[static_cast<size_t>(i)] * table.dim,
                  static_cast<size_t>(table.dim) * sizeof(T));
  });
  SLUICE_RETURN_IF_ERROR(Exchange(give, ask, comm::Traffic::kRows));
  pool.ForEach(static_cast<int64_t>(ask_parts_.size()), [&](int64_t p, int) {
    const Part& part = ask_parts_[static_cast<size_t>(p)];
    const TableRows<T>& table = tables[part.table];
    const T* from = in_[static_cast<size_t>(part.rank)].data() + part.offset;
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
  MakeRoom(give, ask);
  pool.ForEach(static_cast<int64_t>(ask_parts_.size()), [&](int64_t p, int) {
    const Part& part = ask_parts_[static_cast<size_t>(p)];
    const TableRows<T>& table = tables[part.table];
    T* to = out_[static_cast<size_t>(part.rank)].data() + part.offset;
    for (int64_t i = part.begin; i < part.end; ++i, to += table.dim)
      std::memcpy(to, table.mine + routes.ask[static_cast<size_t>(i)] * table.dim,
                  static_cast<size_t>(table.dim) * sizeof(T));
  });
  SLUICE_RETURN_IF_ERROR(Exchange(ask, give, comm::Traffic::kRowGradients));
  // Parts of one table and vocabulary add to the same rows, so a thread takes all ranks of a table.
  pool.ForEach(static_cast<int64_t>(tables.size()), [&](int64_t t, int) {
    const TableRows<T>& table = tables[static_cast<size_t>(t)];
    const auto for_rows = [&](const auto& row) {
      for (const Part& part : give_parts_) {
        if (part.table != static_cast<size_t>(t)) continue;
        const T* from = in_[static_cast<size_t>(part.rank)].data() + part.offset;
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
