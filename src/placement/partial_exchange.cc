#include "placement/partial_exchange.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "placement/ownership.h"

namespace sluice::placement {
namespace {

using comm::ReduceOp;
using comm::Traffic;

// Rows [0, n) of `columns` between a matrix of `ld` columns and one of packed_ld, from packed column `at` on.
template <class T>
void Pack(const T* from, int64_t ld, int64_t n, const std::vector<Range>& columns, T* packed, int64_t packed_ld,
          int64_t at, ThreadPool& pool) {
  if (columns.empty()) return;
  pool.ForParts(n, [&](Range rows, int) {
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      T* to = packed + i * packed_ld + at;
      for (const Range& range : columns) {
        std::memcpy(to, from + i * ld + range.begin, static_cast<size_t>(range.size()) * sizeof(T));
        to += range.size();
      }
    }
  });
}

// `join`(value in the matrix, packed value).
template <class T, class Join>
void Unpack(const T* packed, int64_t packed_ld, int64_t at, int64_t n, const std::vector<Range>& columns, T* to,
            int64_t ld, ThreadPool& pool, const Join& join) {
  if (columns.empty()) return;
  pool.ForParts(n, [&](Range rows, int) {
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      const T* part = packed + i * packed_ld + at;
      for (const Range& range : columns) {
        T* row = to + i * ld + range.begin;
        for (int64_t c = 0; c < range.size(); ++c) row[c] = join(row[c], part[c]);
        part += range.size();
      }
    }
  });
}

constexpr auto kCopy = [](auto, auto value) { return value; };
constexpr auto kAdd = [](auto sum, auto value) { return sum + value; };

}  // namespace

template <class T>
PartialExchange<T>::PartialExchange(ColumnRoutes sums, ColumnRoutes maxima, comm::Communicator* comm, comm::Wire wire)
    : sums_(std::move(sums)), maxima_(std::move(maxima)), comm_(comm), wire_(wire), messages_(comm, wire) {
  for (const Range& a : sums_.reduced)
    for (const Range& b : sums_.pulled) pulled_adds_ = pulled_adds_ || (a.begin < b.end && b.begin < a.end);
  for (int r = 0; r < comm->size(); ++r) any_from_ = any_from_ || WidthFrom(r) > 0;
}

template <class T>
Range PartialExchange<T>::SamplesOf(int64_t global_batch, int rank) const {
  return SamplesOfRank(global_batch, rank, comm_->size());
}

template <class T>
std::vector<int64_t> PartialExchange<T>::Counts(int64_t global_batch, int64_t columns) const {
  std::vector<int64_t> counts;
  for (int r = 0; r < comm_->size(); ++r) counts.push_back(SamplesOf(global_batch, r).size() * columns);
  return counts;
}

template <class T>
Status PartialExchange<T>::ReduceSums(int64_t global_batch, T* global, ThreadPool& pool, T* local) {
  const int64_t width = Width(sums_.reduced), mine = SamplesOf(global_batch, comm_->rank()).size();
  if (width == 0) return Status::Ok();
  const bool all = width == sums_.columns;
  if (!all) {
    packed_.Resize(global_batch * width);
    Pack<T>(global, sums_.columns, global_batch, sums_.reduced, packed_.data(), width, 0, pool);
    global = packed_.data();
  }
  const bool direct = all && !pulled_adds_;
  if (!direct) reduced_.Resize(mine * width);
  const std::span<T> out(direct ? local : reduced_.data(), static_cast<size_t>(mine * width));
  SLUICE_RETURN_IF_ERROR(comm_->ReduceScatter<T>({global, static_cast<size_t>(global_batch * width)},
                                                 Counts(global_batch, width), out, ReduceOp::kSum, Traffic::kPartials,
                                                 wire_));
  if (direct) return Status::Ok();
  if (pulled_adds_)
    Unpack<T>(out.data(), width, 0, mine, sums_.reduced, local, sums_.columns, pool, kAdd);
  else
    Unpack<T>(out.data(), width, 0, mine, sums_.reduced, local, sums_.columns, pool, kCopy);
  return Status::Ok();
}

template <class T>
Status PartialExchange<T>::ReduceMaxima(int64_t global_batch, T* global, ThreadPool& pool, T* local) {
  const int64_t width = Width(maxima_.reduced), columns = maxima_.columns;
  if (width == 0) return Status::Ok();
  const Range mine = SamplesOf(global_batch, comm_->rank());
  T* reduced = global;
  if (width < columns) {
    packed_.Resize(global_batch * width);
    Pack<T>(global, columns, global_batch, maxima_.reduced, packed_.data(), width, 0, pool);
    reduced = packed_.data();
  }
  SLUICE_RETURN_IF_ERROR(comm_->AllReduce<T>({reduced, static_cast<size_t>(global_batch * width)}, ReduceOp::kMax,
                                             Traffic::kPartials, wire_));
  if (width < columns) Unpack<T>(reduced, width, 0, global_batch, maxima_.reduced, global, columns, pool, kCopy);
  Unpack<T>(reduced + mine.begin * width, width, 0, mine.size(), maxima_.reduced, local, columns, pool, kCopy);
  return Status::Ok();
}

template <class T>
Status PartialExchange<T>::GatherGradients(int64_t global_batch, const ColumnRoutes& routes, T* local, ThreadPool& pool,
                                           T* global) {
  const int64_t width = Width(routes.reduced), mine = SamplesOf(global_batch, comm_->rank()).size();
  if (width == 0) return Status::Ok();
  const bool all = width == routes.columns;
  T* in = local;
  T* out = global;
  if (!all) {
    reduced_.Resize(mine * width);
    packed_.Resize(global_batch * width);
    in = reduced_.data();
    out = packed_.data();
    Pack<T>(local, routes.columns, mine, routes.reduced, in, width, 0, pool);
  }
  SLUICE_RETURN_IF_ERROR(comm_->AllGather<T>({in, static_cast<size_t>(mine * width)}, Counts(global_batch, width),
                                             {out, static_cast<size_t>(global_batch * width)}, Traffic::kPartials,
                                             wire_));
  if (!all) Unpack<T>(out, width, 0, global_batch, routes.reduced, global, routes.columns, pool, kCopy);
  return Status::Ok();
}

template <class T>
Status PartialExchange<T>::SendSamples(int64_t global_batch, nn::PartialColumns<T> global, ThreadPool& pool,
                                       nn::PartialColumns<T> local) {
  const auto me = static_cast<size_t>(comm_->rank());
  const int64_t width = WidthFrom(comm_->rank()), sums = Width(sums_.from[me]);
  const int64_t mine = SamplesOf(global_batch, comm_->rank()).size();
  std::vector<int64_t> out_sizes, in_sizes;
  for (int r = 0; r < comm_->size(); ++r) {
    out_sizes.push_back(SamplesOf(global_batch, r).size() * width);
    in_sizes.push_back(mine * WidthFrom(r));
  }
  messages_.Resize(out_sizes, in_sizes);
  for (int r = 0; r < comm_->size(); ++r) {
    const Range samples = SamplesOf(global_batch, r);
    Pack<T>(global.sum + samples.begin * sums_.columns, sums_.columns, samples.size(), sums_.from[me], messages_.out(r),
            width, 0, pool);
    Pack<T>(global.max + samples.begin * maxima_.columns, maxima_.columns, samples.size(), maxima_.from[me],
            messages_.out(r), width, sums, pool);
  }
  SLUICE_RETURN_IF_ERROR(messages_.Exchange(Traffic::kPartials));
  for (int r = 0; r < comm_->size(); ++r) {
    const auto from = static_cast<size_t>(r);
    Unpack<T>(messages_.in(r), WidthFrom(r), 0, mine, sums_.from[from], local.sum, sums_.columns, pool, kCopy);
    Unpack<T>(messages_.in(r), WidthFrom(r), Width(sums_.from[from]), mine, maxima_.from[from], local.max,
              maxima_.columns, pool, kCopy);
  }
  return Status::Ok();
}

template <class T>
Status PartialExchange<T>::ReturnSamples(int64_t global_batch, nn::PartialColumns<T> local, ThreadPool& pool,
                                         nn::PartialColumns<T> global) {
  const auto me = static_cast<size_t>(comm_->rank());
  const int64_t width = WidthFrom(comm_->rank()), sums = Width(sums_.from[me]);
  const int64_t mine = SamplesOf(global_batch, comm_->rank()).size();
  std::vector<int64_t> out_sizes, in_sizes;
  for (int r = 0; r < comm_->size(); ++r) {
    out_sizes.push_back(mine * WidthFrom(r));
    in_sizes.push_back(SamplesOf(global_batch, r).size() * width);
  }
  messages_.Resize(out_sizes, in_sizes);
  for (int r = 0; r < comm_->size(); ++r) {
    const auto to = static_cast<size_t>(r);
    Pack<T>(local.sum, sums_.columns, mine, sums_.from[to], messages_.out(r), WidthFrom(r), 0, pool);
    Pack<T>(local.max, maxima_.columns, mine, maxima_.from[to], messages_.out(r), WidthFrom(r), Width(sums_.from[to]),
            pool);
  }
  SLUICE_RETURN_IF_ERROR(messages_.Exchange(Traffic::kPartials));
  for (int r = 0; r < comm_->size(); ++r) {
    const Range samples = SamplesOf(global_batch, r);
    Unpack<T>(messages_.in(r), width, 0, samples.size(), sums_.from[me], global.sum + samples.begin * sums_.columns,
              sums_.columns, pool, kCopy);
    Unpack<T>(messages_.in(r), width, sums, samples.size(), maxima_.from[me],
              global.max + samples.begin * maxima_.columns, maxima_.columns, pool, kCopy);
  }
  return Status::Ok();
}

template <class T>
Status PartialExchange<T>::Forward(int64_t global_batch, nn::PartialColumns<T> global, ThreadPool& pool,
                                   nn::PartialColumns<T> local) {
  SLUICE_RETURN_IF_ERROR(ReduceMaxima(global_batch, global.max, pool, local.max));
  SLUICE_RETURN_IF_ERROR(ReduceSums(global_batch, global.sum, pool, local.sum));
  return any_from_ ? SendSamples(global_batch, global, pool, local) : Status::Ok();
}

template <class T>
Status PartialExchange<T>::Backward(int64_t global_batch, nn::PartialColumns<T> local, ThreadPool& pool,
                                    nn::PartialColumns<T> global) {
  SLUICE_RETURN_IF_ERROR(GatherGradients(global_batch, sums_, local.sum, pool, global.sum));
  SLUICE_RETURN_IF_ERROR(GatherGradients(global_batch, maxima_, local.max, pool, global.max));
  return any_from_ ? ReturnSamples(global_batch, local, pool, global) : Status::Ok();
}

template class PartialExchange<float>;
template class PartialExchange<double>;
template class PartialExchange<int64_t>;

}  // namespace sluice::placement
