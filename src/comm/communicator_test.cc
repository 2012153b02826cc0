#include "comm/communicator.h"

#include <atomic>
#include <chrono>
#include <mutex>

#include <gtest/gtest.h>

#include "comm/contract_suite.h"
#include "comm/rank_threads.h"

namespace sluice::comm {
namespace {

using std::chrono::milliseconds;

class CommunicatorTest : public testing::TestWithParam<int> {};

TEST_P(CommunicatorTest, KeepsTheContract) {
  std::mutex mutex;
  std::string failures;
  RunRankThreads(GetParam(), milliseconds(30000), [&](Communicator& comm) {
    const std::string mine = ContractSuite(comm).Run();
    std::lock_guard lock(mutex);
    failures += mine;
  });
  EXPECT_EQ(failures, "");
}

TEST_P(CommunicatorTest, SumOfSentBytesOfARingIsTwiceNMinusOneTimesTheBuffer) {
  const int n = GetParam();
  std::atomic<int64_t> sent{0}, received{0};
  RunRankThreads(n, milliseconds(30000), [&](Communicator& comm) {
    std::vector<float> data(12345);
    EXPECT_TRUE(comm.AllReduce<float>(data, ReduceOp::kSum, Traffic::kPartials).ok());
    sent += comm.ledger().totals().sent_bytes[static_cast<int>(Traffic::kPartials)];
    received += comm.ledger().totals().received_bytes[static_cast<int>(Traffic::kPartials)];
  });
  EXPECT_EQ(sent.load(), 2LL * (n - 1) * 12345 * 4);
  EXPECT_EQ(received.load(), sent.load());
}

INSTANTIATE_TEST_SUITE_P(Ranks, CommunicatorTest, testing::Range(1, 9));

TEST(CommunicatorFaultTest, ASilentRankIsNamedWithinTheTimeout) {
  std::mutex mutex;
  std::vector<std::string> messages;
  const auto start = Clock::now();
  RunRankThreads(3, milliseconds(200), [&](Communicator& comm) {
    if (comm.rank() == 1) return;  // never takes part
    std::vector<float> data(100);
    const Status status = comm.AllReduce<float>(data, ReduceOp::kSum, Traffic::kPartials);
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_EQ(comm.Barrier().code(), StatusCode::kUnavailable) << "a failed communicator stays failed";
    std::lock_guard lock(mutex);
    messages.push_back(status.message());
  });
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(30));
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_TRUE(messages[0].find("rank 1") != std::string::npos || messages[1].find("rank 1") != std::string::npos);
}

TEST(CommunicatorFaultTest, LengthsThatDoNotMatchAreAnError) {
  RunRankThreads(2, milliseconds(30000), [&](Communicator& comm) {
    std::vector<std::byte> data(comm.rank() == 0 ? 10 : 12);
    const Status status = comm.Broadcast(data, 0, Traffic::kControl);
    if (comm.rank() == 1) {
      EXPECT_EQ(status.code(), StatusCode::kDataLoss);
      EXPECT_NE(status.message().find("10 bytes"), std::string::npos);
    }
  });
}

// Ranks that wait in a collective, on any communicator of the group, hear of another's failure at once.
TEST(CommunicatorFaultTest, AMessageThatIsAnnouncedTooLongIsAnErrorNamingItsSender) {
  for (const int64_t announced : {int64_t{-1}, int64_t{1} << 50}) {
    RunRankThreads(2, milliseconds(30000), [&](Communicator& comm) {
      if (comm.rank() == 1) {
        EXPECT_TRUE(comm.ExchangeCounts(std::vector<int64_t>{announced, 0}, Traffic::kControl).ok());
        return;
      }
      std::vector<std::string> in;
      const Status status = ExchangeMessages(&comm, {{}, {}}, Traffic::kControl, &in);
      EXPECT_EQ(status.code(), StatusCode::kDataLoss);
      EXPECT_NE(status.message().find("rank 1 announces"), std::string::npos) << status.message();
    });
  }
}

TEST(FailTest, EndsTheWaitsOfAllRanksWithTheFirstFailure) {
  const auto start = Clock::now();
  RunRankThreads(4, std::chrono::seconds(60), [](Communicator& comm) {
    auto other = comm.Duplicate();
    ASSERT_TRUE(other.ok());
    Status status;
    if (comm.rank() == 2) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      status = comm.Fail(NumericError("rank 2: not finite"));
      EXPECT_EQ(comm.Fail(IoError("later")).message(), "rank 2: not finite");
    } else {
      status = comm.rank() == 0 ? comm.Barrier() : other.value()->Barrier();
    }
    EXPECT_EQ(status.code(), StatusCode::kNumeric);
    EXPECT_EQ(status.message(), "rank 2: not finite");
  });
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(50));
}

}  // namespace
}  // namespace sluice::comm
