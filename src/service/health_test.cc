// gRPC's standard health service, asked as a load balancer would: over its own protocol.
#if SLUICE_HAS_SERVICE
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <thread>

#include "service/testing.h"

namespace sluice::service {
namespace {

// One call of grpc.health.v1.Health; requests are empty messages: the server as a whole.
class HealthCall {
 public:
  HealthCall(const std::string& address, const char* method)
      : stub_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    rpc_ = stub_.PrepareCall(&context_, std::string("/grpc.health.v1.Health/") + method, &queue_);
    rpc_->StartCall(this);
    EXPECT_TRUE(Next());
    grpc::Slice nothing;
    rpc_->WriteLast(grpc::ByteBuffer(&nothing, 1), {}, this);
    EXPECT_TRUE(Next());
  }
  ~HealthCall() {
    context_.TryCancel();
    queue_.Shutdown();
    while (Next()) {
    }
  }
  // The next message: field 1, a number: 1 is SERVING, 2 NOT_SERVING. Empty: there is none.
  std::string Read() {
    grpc::ByteBuffer buffer;
    rpc_->Read(&buffer, this);
    if (!Next()) return {};
    grpc::Slice slice;
    EXPECT_TRUE(buffer.DumpToSingleSlice(&slice).ok());
    return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
  }

 private:
  bool Next() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> rpc_;
};

const std::string kServing("\x08\x01", 2), kNotServing("\x08\x02", 2);

TEST(HealthTest, SaysYesWhileServingAndNoFromTheBeginningOfTheEnd) {
  TestCluster<float> cluster;
  EXPECT_EQ(HealthCall(cluster.addresses[0], "Check").Read(), kServing);
  HealthCall watch(cluster.addresses[0], "Watch");
  EXPECT_EQ(watch.Read(), kServing);
  std::thread end([&] { cluster.servers[0]->Shutdown(5); });
  EXPECT_EQ(watch.Read(), kNotServing);
  end.join();
}

}  // namespace
}  // namespace sluice::service
#endif  // SLUICE_HAS_SERVICE
