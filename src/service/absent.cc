// Stands in for src/service/grpc in builds without gRPC.
#if !SLUICE_HAS_SERVICE

#include "service/parameter_client.h"
#include "service/parameter_server.h"

namespace sluice::service {
namespace {

Status Absent() {
  return InvalidArgument(
      "this build has no parameter service; install gRPC for C++ and build again (SLUICE_SERVICE=ON)");
}

}  // namespace

template <class T>
Result<std::unique_ptr<ParameterClient<T>>> ParameterClient<T>::Connect(const ClientOptions&, const ModelLayout&) {
  return Absent();
}
template class ParameterClient<float>;
template class ParameterClient<double>;

Result<std::unique_ptr<ParameterServer>> ParameterServer::Start(std::unique_ptr<Backend>, ModelLayout, EngineOptions,
                                                                ServiceState, ServerOptions, CheckpointHooks) {
  return Absent();
}

Result<std::string> InspectServer(const std::string&, const ServiceConfig&, bool) { return Absent(); }

}  // namespace sluice::service

#endif
