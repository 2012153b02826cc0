#include "service/leases.h"

#include <gtest/gtest.h>

namespace sluice::service {
namespace {

TEST(LeaseBookTest, LendsEveryRangeOfEveryEpochOnce) {
  LeaseBook book;
  ASSERT_TRUE(book.Offer({3, 2, 7}).ok());
  std::vector<std::pair<int64_t, int64_t>> seen;
  for (int i = 0; i < 6; ++i) {
    const auto reply = book.Acquire(5, {}).value();
    ASSERT_EQ(reply.state, LeaseState::kGranted);
    seen.emplace_back(reply.lease.epoch, reply.lease.range);
    ASSERT_TRUE(book.Finish(5, reply.lease.id).ok());
  }
  EXPECT_EQ(seen, (std::vector<std::pair<int64_t, int64_t>>{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}}));
  EXPECT_EQ(book.Acquire(5, {}).value().state, LeaseState::kFinished);
}

TEST(LeaseBookTest, ALostWorkersRangeGoesOnWhereItsPushesEnded) {
  LeaseBook book;
  ASSERT_TRUE(book.Offer({2, 1, 0}).ok());
  const Lease first = book.Acquire(1, {}).value().lease;
  const Lease second = book.Acquire(2, {}).value().lease;
  EXPECT_NE(first.range, second.range);
  EXPECT_EQ(book.Acquire(3, {}).value().state, LeaseState::kWait);
  ASSERT_TRUE(book.Advance(1, {{{first.id, 100}}}).ok());
  ASSERT_TRUE(book.Advance(1, {{{first.id, 50}}}).ok());
  book.Return(1);
  const auto again = book.Acquire(3, {}).value();
  EXPECT_EQ(again.lease.id, first.id);
  EXPECT_EQ(again.lease.done, 150);
  EXPECT_FALSE(book.Advance(1, {{{first.id, 1}}}).ok());  // the worker that was taken for lost
  EXPECT_FALSE(book.Finish(1, first.id).ok());
  ASSERT_TRUE(book.Finish(3, first.id).ok());
  ASSERT_TRUE(book.Finish(3, first.id).ok());
  ASSERT_TRUE(book.Finish(2, second.id).ok());
  EXPECT_EQ(book.finished_ranges(), 2);
}

// A batch that holds the end of one range and the beginning of the next.
TEST(LeaseBookTest, AWorkerHoldsTheNextRangeBesideTheOneThatItEnds) {
  LeaseBook book;
  ASSERT_TRUE(book.Offer({3, 1, 0}).ok());
  const Lease first = book.Acquire(1, {}).value().lease;
  EXPECT_EQ(book.Acquire(1, {}).value().lease.id, first.id);  // its process lost the answer
  const std::vector<int64_t> held = {first.id};
  const Lease second = book.Acquire(1, held).value().lease;
  EXPECT_NE(second.id, first.id);
  EXPECT_EQ(book.Acquire(1, held).value().lease.id, second.id);
  ASSERT_TRUE(book.Advance(1, {{{first.id, 70}, {second.id, 30}}}).ok());
  EXPECT_EQ(book.SamplesOf(first.id), 70);
  EXPECT_EQ(book.SamplesOf(second.id), 30);
  const Lease third = book.Acquire(2, {}).value().lease;
  EXPECT_FALSE(book.Advance(1, {{{second.id, 5}, {third.id, 5}}}).ok());  // all or nothing
  EXPECT_EQ(book.SamplesOf(second.id), 30);
  ASSERT_TRUE(book.Finish(1, first.id).ok());
  EXPECT_EQ(book.claimed_samples(), 100);
  EXPECT_EQ(book.Return(1).size(), 1u);
  EXPECT_EQ(book.Acquire(2, std::vector<int64_t>{third.id}).value().lease.done, 30);
}

TEST(LeaseBookTest, ComesBackFromACheckpoint) {
  LeaseBook book;
  ASSERT_TRUE(book.Offer({4, 2, 9}).ok());
  ASSERT_TRUE(book.Finish(1, book.Acquire(1, {}).value().lease.id).ok());
  const Lease held = book.Acquire(1, {}).value().lease;
  ASSERT_TRUE(book.Advance(1, {{{held.id, 33}}}).ok());
  auto back = LeaseBook::FromJson(book.ToJson());
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->Acquire(1, {}).value().lease.id, held.id);  // its holder may still be there
  EXPECT_EQ(back->Acquire(2, {}).value().lease.range, 2);
  back->Return(1);
  EXPECT_EQ(back->Acquire(3, {}).value().lease.done, 33);
  EXPECT_TRUE(back->Offer({4, 2, 9}).ok());
  EXPECT_EQ(back->Offer({5, 2, 9}).code(), StatusCode::kInvalidArgument);
  for (const char* bad :
       {"", "{}", R"({"ranges":-1,"epochs":1,"fingerprint":0,"epoch":0,"finished_samples":0,"begun":[]})",
        R"({"ranges":2,"epochs":1,"fingerprint":0,"epoch":0,"finished_samples":0,"begun":[[2,0,0,false]]})",
        R"({"ranges":2,"epochs":1,"fingerprint":0,"epoch":0,"finished_samples":0,"begun":[[1]]})"})
    EXPECT_EQ(LeaseBook::FromJson(bad).status().code(), StatusCode::kDataLoss) << bad;
}

// A server was killed: the book of its checkpoint, and what it wrote down since.
TEST(LeaseBookTest, TakesUpWhatHappenedAfterTheCheckpoint) {
  LeaseBook book;
  ASSERT_TRUE(book.Offer({3, 1, 9}).ok());
  const Lease a = book.Acquire(1, {}).value().lease, b = book.Acquire(2, {}).value().lease;
  ASSERT_TRUE(book.Advance(1, {{{a.id, 10}}}).ok());
  LeaseBook old = LeaseBook::FromJson(book.ToJson()).value();  // the checkpoint
  // Worker 1 ends its range and takes the third; worker 2 is lost, and 1 goes on with what it had.
  const auto finish_and_return = [&](LeaseBook* to) {
    to->RecoverFinished(a.id, 30);
    to->RecoverLent(2, 1);
    to->RecoverReturned(b.id, 7);
    to->RecoverLent(b.id, 1);
  };
  finish_and_return(&old);
  EXPECT_EQ(old.claimed_samples(), 37);
  EXPECT_EQ(old.OwedBy(1), 20);
  ASSERT_TRUE(old.Advance(1, {{{a.id, 5}}}).ok());  // pushes that are sent again
  EXPECT_EQ(old.OwedBy(1), 15);
  ASSERT_TRUE(old.Advance(1, {{{a.id, 15}}}).ok());
  EXPECT_FALSE(old.anyone_owes());
  EXPECT_EQ(old.claimed_samples(), 37);
  ASSERT_TRUE(old.Advance(1, {{{2, 5}}}).ok());
  EXPECT_FALSE(old.Advance(2, {{{b.id, 5}}}).ok());
  const LeaseReply next = old.Acquire(1, {}).value();
  EXPECT_EQ(next.lease.id, b.id);
  EXPECT_EQ(next.lease.done, 7);
  ASSERT_TRUE(old.Finish(1, 2).ok());
  ASSERT_TRUE(old.Finish(1, b.id).ok());
  EXPECT_EQ(old.finished_ranges(), 3);
  EXPECT_EQ(old.claimed_samples(), 42);
  finish_and_return(&old);  // what an even newer checkpoint holds already
  EXPECT_EQ(old.claimed_samples(), 42);
  EXPECT_EQ(old.Acquire(1, {}).value().state, LeaseState::kFinished);
}

}  // namespace
}  // namespace sluice::service
