#include "comm/mpi.h"

#include <cstdlib>

#ifdef SLUICE_HAS_MPI
#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>
#endif

namespace sluice::comm {

bool LaunchedByMpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"})
    if (const char* value = std::getenv(name)) return std::atoi(value) > 1;
  return false;
}

#ifndef SLUICE_HAS_MPI

bool HasMpi() { return false; }
Result<std::unique_ptr<Transport>> MakeMpiTransport() {
  return InvalidArgument("this build has no MPI; configure with -DSLUICE_MPI=ON and build again");
}
void FinishMpi(bool, int) {}

#else

namespace {

// A message longer than an int can count goes as several of this size.
constexpr size_t kMaxMessage = size_t{1} << 30;
constexpr int kTag = 7;
// How long a wait polls without pause, and how long until it sleeps.
constexpr std::chrono::microseconds kSpin{50}, kYield{1500};

Status MpiStatus(int code, const char* what) {
  if (code == MPI_SUCCESS) return Status::Ok();
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  return {StatusCode::kUnavailable, fmt::format("{}: {}", what, text)};
}

// Owns one MPI communicator; error codes are returned, not fatal.
struct Group {
  explicit Group(MPI_Comm c, bool owned) : comm(c), own(owned) { MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN); }
  ~Group() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (own && !finalized && !failed) MPI_Comm_free(&comm);
  }
  MPI_Comm comm;
  bool own;
  bool failed = false;  // after a lost peer nothing collective may be called any more
};

// That this rank leaves, for all its groups.
struct Failure {
  std::atomic<bool> failed{false};
  std::mutex mutex;
  Status status;
};

class MpiRequest : public Request {
 public:
  MpiRequest(std::shared_ptr<Group> group, std::shared_ptr<Failure> failure, int peer, bool receive, size_t bytes)
      : group_(std::move(group)), failure_(std::move(failure)), peer_(peer), receive_(receive), bytes_(bytes) {}
  ~MpiRequest() override {
    for (auto& request : requests_) {
      if (request == MPI_REQUEST_NULL) continue;
      MPI_Cancel(&request);
      MPI_Request_free(&request);
    }
  }
  void Post(std::byte* data) {
    size_t offset = 0;
    do {
      const int length = static_cast<int>(std::min(kMaxMessage, bytes_ - offset));
      requests_.push_back(MPI_REQUEST_NULL);
      const int code = receive_
                           ? MPI_Irecv(data + offset, length, MPI_BYTE, peer_, kTag, group_->comm, &requests_.back())
                           : MPI_Isend(data + offset, length, MPI_BYTE, peer_, kTag, group_->comm, &requests_.back());
      if (status_.ok()) status_ = MpiStatus(code, receive_ ? "MPI_Irecv" : "MPI_Isend");
      offset += static_cast<size_t>(length);
    } while (offset < bytes_);
  }

  // Polls: first without pause (a peer on the same machine answers within microseconds), then yielding the processor,
  // then sleeping, so that ranks which share cores with their peers let them work. What ends each of these is time, not
  // a number of polls: where processors are shared OpenMPI yields in each of them, and on a busy machine it may take
  // milliseconds to come back. A deadline that is over means one look.
  Status Wait(Deadline deadline) override {
    if (!status_.ok()) return status_;
    const Clock::time_point begin = Clock::now();
    for (; done_ < requests_.size(); ++done_) {
      MPI_Status mpi_status;
      int done = 0;
      for (;;) {
        const Status tested = MpiStatus(MPI_Test(&requests_[done_], &done, &mpi_status), "MPI_Test");
        if (!tested.ok()) return Failed(Explain(tested));
        if (done) break;
        if (failure_->failed) {
          std::lock_guard lock(failure_->mutex);
          return Failed(failure_->status);
        }
        const Clock::time_point now = Clock::now();
        if (now >= deadline) {
          return Failed({StatusCode::kUnavailable, receive_
                                                       ? fmt::format("rank {} sent nothing in time", peer_)
                                                       : fmt::format("rank {} did not take a message in time", peer_)});
        }
        if (now - begin < kSpin) continue;
        if (now - begin < kYield) {
          std::this_thread::yield();
        } else {
          std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
      }
      if (receive_) {
        int count = 0;
        MPI_Get_count(&mpi_status, MPI_BYTE, &count);
        received_ += static_cast<size_t>(count);
      }
    }
    if (receive_ && received_ != bytes_)
      return DataLoss("rank {} sent {} bytes, {} were expected", peer_, received_, bytes_);
    return Status::Ok();
  }

 private:
  Status Failed(Status status) {
    group_->failed = true;
    return status;
  }
  Status Explain(const Status& status) const {
    return receive_ && status.message().find("TRUNCATE") != std::string::npos
               ? DataLoss("rank {} sent more than the {} bytes expected", peer_, bytes_)
               : Status(status.code(), fmt::format("message with rank {}: {}", peer_, status.message()));
  }

  std::shared_ptr<Group> group_;
  std::shared_ptr<Failure> failure_;
  int peer_;
  bool receive_;
  size_t bytes_;
  std::vector<MPI_Request> requests_;
  size_t done_ = 0;      // requests that have ended
  size_t received_ = 0;  // bytes that those brought
  Status status_;
};

class MpiTransport : public Transport {
 public:
  MpiTransport(std::shared_ptr<Group> group, std::shared_ptr<Failure> failure)
      : group_(std::move(group)), failure_(std::move(failure)) {
    MPI_Comm_rank(group_->comm, &rank_);
    MPI_Comm_size(group_->comm, &size_);
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::unique_ptr<Request> Send(int to, std::span<const std::byte> bytes) override {
    return Make(to, false, const_cast<std::byte*>(bytes.data()), bytes.size());
  }
  std::unique_ptr<Request> Receive(int from, std::span<std::byte> bytes) override {
    return Make(from, true, bytes.data(), bytes.size());
  }
  Result<std::unique_ptr<Transport>> Split(int color) override {
    MPI_Comm comm;
    SLUICE_RETURN_IF_ERROR(MpiStatus(MPI_Comm_split(group_->comm, color, rank_, &comm), "MPI_Comm_split"));
    return std::unique_ptr<Transport>(std::make_unique<MpiTransport>(std::make_shared<Group>(comm, true), failure_));
  }
  Status Fail(const Status& status) override {
    std::lock_guard lock(failure_->mutex);
    if (failure_->failed) return failure_->status;
    failure_->status = status;
    failure_->failed = true;
    return status;
  }

 private:
  std::unique_ptr<Request> Make(int peer, bool receive, std::byte* data, size_t bytes) {
    auto request = std::make_unique<MpiRequest>(group_, failure_, peer, receive, bytes);
    request->Post(data);
    return request;
  }

  std::shared_ptr<Group> group_;
  std::shared_ptr<Failure> failure_;
  int rank_ = 0, size_ = 1;
};

}  // namespace

bool HasMpi() { return true; }

Result<std::unique_ptr<Transport>> MakeMpiTransport() {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (!initialized) {
    int provided = 0;
    SLUICE_RETURN_IF_ERROR(
        MpiStatus(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread"));
    if (provided < MPI_THREAD_MULTIPLE)
      return Status{StatusCode::kUnavailable, "this MPI library lacks MPI_THREAD_MULTIPLE"};
  }
  MPI_Comm comm;
  SLUICE_RETURN_IF_ERROR(MpiStatus(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup"));
  return std::unique_ptr<Transport>(
      std::make_unique<MpiTransport>(std::make_shared<Group>(comm, true), std::make_shared<Failure>()));
}

void FinishMpi(bool failed, int exit_code) {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (!initialized) return;
  if (failed) {
    // MPI_Finalize would wait for the lost peer.
    std::_Exit(exit_code);
  }
  MPI_Finalize();
}

#endif

}  // namespace sluice::comm
