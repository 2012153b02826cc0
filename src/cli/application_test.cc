#include "cli/application.h"

#include <new>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::cli {
namespace {

using testing::ElementsAre;

struct Outcome {
  int code;
  std::string error;
};

// Runs `sluice verb arguments...` whose verb does `action`.
Outcome RunVerb(const std::function<Status()>& action, std::vector<const char*> arguments = {"verb"}) {
  Application application;
  application.Add("verb", "A verb.")->Action(action);
  arguments.insert(arguments.begin(), "sluice");
  testing::internal::CaptureStderr();
  const int code = application.Run(static_cast<int>(arguments.size()), arguments.data());
  return {code, testing::internal::GetCapturedStderr()};
}

TEST(ApplicationTest, MapsStatusesToExitCodesAndOneLine) {
  EXPECT_EQ(RunVerb([] { return Status::Ok(); }).code, 0);
  EXPECT_EQ(RunVerb([] { return Status::Ok(); }).error, "");
  EXPECT_EQ(RunVerb([] { return InvalidArgument("bad {}", 1); }).code, 2);
  EXPECT_EQ(RunVerb([] { return IoError("a\nb\n"); }).code, 3);
  EXPECT_EQ(RunVerb([] { return IoError("a\nb\n"); }).error, "sluice: a b\n");
  EXPECT_EQ(RunVerb([] { return Status(StatusCode::kUnavailable, "rank 1"); }).code, 4);
  EXPECT_EQ(RunVerb([] { return Status(StatusCode::kCancelled, "stopped"); }).code, 130);
}

TEST(ApplicationTest, MapsExceptionsToExitCodes) {
  const Outcome numeric = RunVerb([]() -> Status { throw StatusError(NumericError("NaN in layer x")); });
  EXPECT_EQ(numeric.code, 3);
  EXPECT_EQ(numeric.error, "sluice: NaN in layer x\n");
  const Outcome memory = RunVerb([]() -> Status { throw std::bad_alloc(); });
  EXPECT_EQ(memory.code, 3);
  EXPECT_EQ(memory.error, "sluice: out of memory\n");
  const Outcome bug = RunVerb([]() -> Status { throw std::out_of_range("map::at"); });
  EXPECT_EQ(bug.code, 70);
  EXPECT_EQ(bug.error, "sluice: map::at; this is a bug, please report it\n");
}

TEST(ApplicationTest, ParsesPositionalsRepeatedOptionsAndDashes) {
  Application application;
  std::string model, output = "-";
  std::vector<std::string> data, set;
  bool quiet = false;
  Verb* verb = application.Add("predict", "Scores.");
  verb->Argument("model", &model, "Model.", true);
  verb->Arguments("data", &data, "Data.", false);
  verb->Option("-o,--output", "FILE", &output, "Output.");
  verb->Options("--set", "K=V", &set, "Set.");
  verb->Flag("-q,--quiet", &quiet, "Quiet.");
  verb->Action([] { return Status::Ok(); });
  const char* arguments[] = {"sluice", "predict", "--set", "a=[1, 2]", "m", "-",
                             "x.csv",  "--set",   "b=-3",  "-o",       "-", "-q"};
  ASSERT_EQ(application.Run(12, arguments), 0);
  EXPECT_EQ(model, "m");
  EXPECT_THAT(data, ElementsAre("-", "x.csv"));
  EXPECT_THAT(set, ElementsAre("a=[1, 2]", "b=-3"));
  EXPECT_EQ(output, "-");
  EXPECT_TRUE(quiet);
}

TEST(ApplicationTest, TellsUsageErrors) {
  const auto never = [] {
    ADD_FAILURE() << "the verb must not run";
    return Status::Ok();
  };
  EXPECT_EQ(RunVerb(never, {}).error, "sluice: a verb is missing, such as train or predict (see sluice --help)\n");
  EXPECT_EQ(RunVerb(never, {"vreb"}).error,
            "sluice: unknown verb \"vreb\"; did you mean \"verb\"? (see sluice --help)\n");
  EXPECT_EQ(RunVerb(never, {"verb", "--hlep"}).error,
            "sluice: unknown option --hlep; did you mean --help? (see sluice verb --help)\n");
  EXPECT_EQ(RunVerb(never, {"verb", "x"}).code, 2);
}

}  // namespace
}  // namespace sluice::cli
