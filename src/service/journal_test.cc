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
    journal->Cut(5);
    journal->Gone(1, 9, true);
  }
  ServiceState state;  // of a checkpoint after the input was offered and before the rest
  ASSERT_TRUE(state.leases.Offer({3, 1, 9}).ok());
  state.clients = {{1, "one", true, 4, 4, 0}, {2, "two", true, 3, 3, 0}};
  state.lost_pushes = 4;
  ASSERT_TRUE(RecoverFromJournal(path, &state).ok());
  EXPECT_EQ(state.leases.finished_ranges(), 1);
  EXPECT_EQ(state.leases.claimed_samples(), 37);
  EXPECT_EQ(state.lost_since, 2 + 8 + 5);  // of clients 2, 3 and 1
  EXPECT_EQ(state.lost_pushes, 4 + 2 + 8 + 5);
  EXPECT_EQ(state.dropped, (std::vector<uint64_t>{2, 1}));
  EXPECT_EQ(state.dropped_since, (std::vector<std::pair<uint64_t, uint64_t>>{{2, 5}, {1, 9}}));
  ASSERT_EQ(state.clients.size(), 1u);
  EXPECT_EQ(state.clients[0].id, 4u);  // it may come back, or is taken for lost
  EXPECT_EQ(state.clients[0].clock, 7);
  EXPECT_EQ(state.leases.Acquire(4, {}).value().lease.done, 7);
  // Without any checkpoint the input is settled by the journal.
  ServiceState empty;
  ASSERT_TRUE(RecoverFromJournal(path, &empty).ok());
  EXPECT_EQ(empty.leases.claimed_samples(), 37);
  // The checkpoint of the cut holds what comes before its line.
  ServiceState later;
  later.cut = 5;
  later.clients = {{1, "one", true, 4, 4, 0}};
  ASSERT_TRUE(RecoverFromJournal(path, &later).ok());
  EXPECT_EQ(later.leases.claimed_samples(), 0);
  EXPECT_EQ(later.lost_since, 5);
  EXPECT_TRUE(later.clients.empty());
}

TEST(JournalTest, WhoComesFromAnEarlierGenerationIsForgotten) {
  const std::string path = NewPath("journal-generation");
  ASSERT_TRUE(WriteFileAtomically(path, "[\"gone\",1,9,true]\n").ok());
  ASSERT_TRUE(Journal::Begin(path, 3).ok());
  Journal::Open(path).value()->Joined(8, "eight", true, 2);
  ServiceState state;
  state.generation = 2;
  state.clients = {{1, "one", true, 4, 4, 0}};
  state.dropped = {7};
  ASSERT_TRUE(state.leases.Offer({2, 1, 9}).ok());
  ASSERT_TRUE(state.leases.Acquire(1, {}).ok());
  ASSERT_TRUE(RecoverFromJournal(path, &state).ok());
  EXPECT_EQ(state.generation, 3);
  EXPECT_EQ(state.lost_pushes, 0);
  EXPECT_TRUE(state.dropped.empty());
  ASSERT_EQ(state.clients.size(), 1u);
  EXPECT_EQ(state.clients[0].id, 8u);
  EXPECT_EQ(state.leases.Acquire(8, {}).value().lease.id, 0);
  // A checkpoint of this generation keeps whom it knows.
  ServiceState same;
  same.generation = 3;
  same.clients = {{5, "five", true, 4, 4, 0}};
  ASSERT_TRUE(RecoverFromJournal(path, &same).ok());
  EXPECT_EQ(same.clients.size(), 2u);
  const ServiceState read = ServiceState::FromJson(same.ToJson()).value();
  EXPECT_EQ(read.generation, 3);
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
