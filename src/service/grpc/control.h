#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "parameter_service.grpc.pb.h"
#include "service/grpc/transport.h"
#include "service/parameter_server.h"

namespace sluice::service {

// The control calls of a server, each a few lines on the engine.
class ControlService final : public proto::ParameterService::Service {
 public:
  struct Parts {
    Engine* engine = nullptr;
    EngineOptions options;
    std::string token;
    CheckpointHooks hooks;
    uint64_t incarnation = 0;
    double cut_timeout_s = 10;
    int groups = 1;
    std::function<Result<std::string>()> checkpoint;  // the first server's
    std::function<void(const std::string&)> wrote;    // part of a checkpoint into this folder
    std::function<std::string()> newest_checkpoint;
    std::function<bool()> draining;
    std::function<void(int64_t)> go_back;  // to a checkpoint, as this generation
    std::function<void(bool)> leaving;     // the first server is, or is not
    Clock::time_point started = Clock::now();
  };
  explicit ControlService(Parts parts) : parts_(std::move(parts)) {}

  using Context = grpc::ServerContext;
  grpc::Status Join(Context* context, const proto::JoinRequest* request, proto::JoinReply* reply) override;
  grpc::Status Heartbeat(Context* context, const proto::ClientRequest* request, proto::HeartbeatReply* reply) override;
  grpc::Status Leave(Context* context, const proto::LeaveRequest* request, proto::Empty* reply) override;
  grpc::Status OfferInput(Context* context, const proto::InputPlan* request, proto::Empty* reply) override;
  grpc::Status AcquireLease(Context* context, const proto::AcquireLeaseRequest* request,
                            proto::LeaseReply* reply) override;
  grpc::Status FinishLease(Context* context, const proto::FinishLeaseRequest* request, proto::Empty* reply) override;
  grpc::Status Checkpoint(Context* context, const proto::Empty* request, proto::CheckpointReply* reply) override;
  grpc::Status BeginCut(Context* context, const proto::BeginCutRequest* request, proto::BeginCutReply* reply) override;
  grpc::Status WriteCut(Context* context, const proto::WriteCutRequest* request, proto::WriteCutReply* reply) override;
  grpc::Status EndCut(Context* context, const proto::EndCutRequest* request, proto::Empty* reply) override;
  grpc::Status Follow(Context* context, const proto::FollowRequest* request, proto::FollowReply* reply) override;
  grpc::Status Inspect(Context* context, const proto::Empty* request, proto::InspectReply* reply) override;

 private:
  // Runs `body` for a caller with the right token; what it throws becomes a status.
  grpc::Status Answer(Context* context, const std::function<Status()>& body);
  Status CheckLeads() const;
  Status CheckCut(uint64_t cut) const;

  Parts parts_;
  std::atomic<uint64_t> cut_{0};  // the one that was begun last; 0: none
};

}  // namespace sluice::service
