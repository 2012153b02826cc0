#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "comm/communicator.h"
#include "placement/key_requests.h"
#include "placement/pairwise_buffers.h"

namespace sluice::placement {

// The rows of one table on both sides of the exchange.
// Shapes       owned [unique keys that this rank owns, dim]; mine [unique keys of my samples, dim].
template <class T>
struct TableRows {
  int64_t dim = 0;
  const std::vector<uint8_t>* serves = nullptr;  // [num_vocabularies]: whether this table holds them
  T* owned = nullptr;
  T* mine = nullptr;
};

// Brings rows from their owners to the ranks whose samples read them, and summed gradients back.
// Wire         one message to each rank for all tables: rows only, in the order of RowRoutes; as bf16 where `wire` says
//              so and T is float. What a rank asks of itself is not rounded.
// Semantics    Push sums in rank order: the result does not depend on timing. T: float, double, int64_t.
// Distributed  collective; one all-to-all each. U rows that live elsewhere: U * sum of dims * sizeof(T) bytes (2 each
//              as bf16) each way.
template <class T>
class RowExchange {
 public:
  RowExchange(comm::Communicator* comm, comm::Wire wire) : comm_(comm), messages_(comm, wire) {}

  // owned -> mine.
  Status Pull(const RowRoutes& routes, const std::vector<TableRows<T>>& tables, ThreadPool& pool);
  // mine -> owned, which is overwritten for rows of vocabularies that the table serves.
  Status Push(const RowRoutes& routes, const std::vector<TableRows<T>>& tables, ThreadPool& pool);

 private:
  // Where the rows of one table, rank and vocabulary stand in a message.
  struct Part {
    size_t table = 0;
    int64_t begin = 0, end = 0;  // in the routes
    int64_t offset = 0;          // elements, in the message of the rank
    int rank = 0;
  };
  // Cuts messages along `begin`; returns their lengths in elements.
  std::vector<int64_t> Plan(const std::vector<int64_t>& begin, const std::vector<TableRows<T>>& tables,
                            std::vector<Part>* parts) const;
  // Puts the rows `index` of the parts, out of the member `rows` of their tables, into the messages.
  void Pack(const std::vector<Part>& parts, const std::vector<TableRows<T>>& tables, T* TableRows<T>::*rows,
            const std::vector<int32_t>& index, ThreadPool& pool);

  comm::Communicator* comm_;
  std::vector<Part> ask_parts_, give_parts_;
  PairwiseBuffers<T> messages_;
};

}  // namespace sluice::placement
