#include "service/journal.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace sluice::service {
namespace {

std::string NewPath(const char* name) {
  const std::string path = testing::TempDir() + "/" + name;
  std::filesystem::remove(path);
  return path;
}

TEST(JournalTest, WhatHappenedAfterACheckpointIsTakenUp) {
  const std::string path = NewPath("journal-recover");
  {
    auto journal = Journal::Open(path).value();
    journal->Offered({3, 1, 9});
    journal->Lent(0, 1);
    journal->Lent(1, 2);
    journal->Joined(3, "three", true, 6);
    journal->Joined(4, "four", true, 7);
    journal->Finished(0, 30);
    journal->Returned(1, 7);
    journal->Gone(2, 5, true);
    journal->Gone(3, 8, false);
  }
  ServiceState state;  // of a checkpoint after the input was offered and before the rest
  ASSERT_TRUE(state.leases.Offer({3, 1, 9}).ok());
  state.clients = {{1, "one", true, 4, 4, 0}, {2, "two", true, 3, 3, 0}};
  ASSERT_TRUE(RecoverFromJournal(path, &state).ok());
  EXPECT_EQ(state.leases.finished_ranges(), 1);
  EXPECT_EQ(state.leases.claimed_samples(), 37);
  EXPECT_EQ(state.lost_pushes, 2);  // of client 2, which the checkpoint knew
  EXPECT_EQ(state.dropped, std::vector<uint64_t>{2});
  ASSERT_EQ(state.clients.size(), 2u);
  EXPECT_EQ(state.clients[0].id, 1u);
  EXPECT_EQ(state.clients[1].id, 4u);  // it may come back, or is taken for lost
  EXPECT_EQ(state.clients[1].clock, 7);
  EXPECT_EQ(state.leases.Acquire(4, {}).value().lease.done, 7);
  // Without any checkpoint the input is settled by the journal.
  ServiceState empty;
  ASSERT_TRUE(RecoverFromJournal(path, &empty).ok());
  EXPECT_EQ(empty.leases.claimed_samples(), 37);
}

TEST(JournalTest, ATornLineIsLeftOutAndTheNextOneStandsAlone) {
  const std::string path = NewPath("journal-torn");
  ASSERT_TRUE(WriteFileAtomically(path, "[\"offered\",2,1,9]\n[\"lent\",0,5]\n[\"finis").ok());
  Journal::Open(path).value()->Lent(1, 6);
  ServiceState state;
  ASSERT_TRUE(RecoverFromJournal(path, &state).ok());
  EXPECT_EQ(state.leases.Acquire(6, {}).value().lease.id, 1);
  EXPECT_EQ(state.leases.Acquire(7, {}).value().state, LeaseState::kWait);
}

TEST(JournalTest, AMissingFileIsEmptyAndAStrangeOneIsRefused) {
  ServiceState state;
  EXPECT_TRUE(RecoverFromJournal(NewPath("journal-none"), &state).ok());
  const std::string path = NewPath("journal-strange");
  for (const char* line : {"[\"eaten\",1]", "[\"lent\",\"a\",2]", "[\"gone\",1]", "[7]"}) {
    ASSERT_TRUE(WriteFileAtomically(path, std::string(line) + "\n").ok());
    const Status status = RecoverFromJournal(path, &state);
    EXPECT_EQ(status.code(), StatusCode::kDataLoss) << line;
    EXPECT_NE(status.message().find("line 1"), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace sluice::service
