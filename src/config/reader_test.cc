#include "config/reader.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/document.h"
#include "config/test_settings.h"
#include "config/writer.h"

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Status Read(const std::string& text, TestSettings* settings, const std::vector<std::string>& overrides = {}) {
  return ReadText(text, "c.yaml", overrides, settings);
}

// The message of a failed read, which must leave the settings alone.
std::string Failure(const std::string& text, const std::vector<std::string>& overrides = {}) {
  TestSettings settings;
  settings.seed = 77;
  const Status status = Read(text, &settings, overrides);
  EXPECT_FALSE(status.ok()) << text;
  EXPECT_EQ(status.ExitCode(), 2);
  EXPECT_EQ(settings.seed, 77);
  EXPECT_EQ(status.message().find('\n'), std::string::npos) << status.message();
  return status.message();
}

TEST(ReaderTest, FillsEveryKindOfField) {
  TestSettings s;
  const Status status = Read(R"(
seed: -5
files: [a.tsv, "b c.tsv", 'd']
mlp: [512, 1_024, 1e3]
bounds:
  - 0.5
  - .inf
train: {batch_size: 64, learning_rate: 1e-3, overlap: false}
features:
  I1: {type: numeric}
  C1:
    type: categorical
    vocabulary: words
    init: {scale: 2}
layers:
  - {name: a, type: linear, width: 3}
  - {name: b, type: dropout}
)",
                             &s);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(s.seed, -5);
  EXPECT_THAT(s.files, ElementsAre("a.tsv", "b c.tsv", "d"));
  EXPECT_THAT(s.mlp, ElementsAre(512, 1024, 1000));
  EXPECT_THAT(s.bounds, ElementsAre(0.5, std::numeric_limits<double>::infinity()));
  EXPECT_EQ(s.train.batch_size, 64);
  EXPECT_EQ(s.train.learning_rate, 1e-3);
  EXPECT_FALSE(s.train.overlap);
  ASSERT_EQ(s.features.size(), 2u);
  EXPECT_EQ(s.features[0].first, "I1");
  EXPECT_EQ(s.features[1].second.vocabulary, "words");
  EXPECT_EQ(s.features[1].second.init.kind, "normal");
  EXPECT_EQ(s.features[1].second.init.scale, 2);
  ASSERT_EQ(s.layers.size(), 2u);
  EXPECT_EQ(s.layers[0].width, 3);
  EXPECT_EQ(s.layers[1].rate, 0.5);
}

TEST(ReaderTest, KeepsDefaultsOfWhatIsLeftOut) {
  TestSettings s;
  s.train.note = "kept";
  ASSERT_TRUE(Read("train:\n  batch_size: 7\nlayers:\n", &s).ok());
  EXPECT_EQ(s.train.batch_size, 7);
  EXPECT_EQ(s.train.learning_rate, 0.02);
  EXPECT_EQ(s.train.note, "kept");
  EXPECT_THAT(s.mlp, ElementsAre(400, 400));
}

TEST(ReaderTest, TakesASingleValueForAListOfOne) {
  TestSettings s;
  ASSERT_TRUE(Read("files: day_*.tsv\nmlp: 8\n", &s).ok());
  EXPECT_THAT(s.files, ElementsAre("day_*.tsv"));
  EXPECT_THAT(s.mlp, ElementsAre(8));
}

TEST(ReaderTest, ExpandsRangesInOrderAndLaterKeysRefine) {
  TestSettings s;
  const Status status = Read(R"(
features:
  I{1..2}: {type: numeric}
  C{1..3,9}: {type: categorical}
  C2: {vocabulary: shared}
)",
                             &s);
  ASSERT_TRUE(status.ok()) << status.message();
  std::vector<std::string> names;
  for (const auto& [name, feature] : s.features) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("I1", "I2", "C1", "C2", "C3", "C9"));
  EXPECT_EQ(s.features[3].second.vocabulary, "shared");
  EXPECT_EQ(s.features[3].second.type, "categorical");
  EXPECT_EQ(s.features[4].second.vocabulary, "");
}

TEST(ReaderTest, NamesFileLineColumnPathAndNearestKeyOfAnUnknownKey) {
  EXPECT_EQ(Failure("seed: 3\ntrain:\n  batch_sise: 4\n"),
            "c.yaml:3:3: train.batch_sise: unknown key; did you mean \"batch_size\"?");
  EXPECT_EQ(Failure("features:\n  C{1..26}: {type: numeric, vocab: x}\n"),
            "c.yaml:2:29: features.C1.vocab: unknown key; did you mean \"vocabulary\"?");
  EXPECT_EQ(Failure("layers: [{name: a, type: dropout, widht: 3}]\n"),
            "c.yaml:1:35: layers[0].widht: unknown key; did you mean \"name\"? Known here: name, type, rate.");
}

TEST(ReaderTest, SaysWhereElseAMisplacedKeyBelongs) {
  EXPECT_THAT(Failure("batch_size: 4096\n"), HasSubstr("There is train.batch_size."));
}

TEST(ReaderTest, NamesKeyValueAndRuleOfAMistypedValue) {
  EXPECT_EQ(Failure("train:\n  batch_size: many\n"),
            "c.yaml:2:15: train.batch_size: must be a whole number, not \"many\"");
  EXPECT_EQ(Failure("train: {batch_size: 1.5}\n"),
            "c.yaml:1:21: train.batch_size: must be a whole number, not \"1.5\"");
  EXPECT_EQ(Failure("train: {batch_size: \"4\"}\n"),
            "c.yaml:1:21: train.batch_size: must be a whole number, not \"4\"");
  EXPECT_EQ(Failure("seed: 99999999999999999999\n"),
            "c.yaml:1:7: seed: must fit in 64 bits, not \"99999999999999999999\"");
  EXPECT_EQ(Failure("train: {overlap: yes}\n"), "c.yaml:1:18: train.overlap: must be true or false, not \"yes\"");
  EXPECT_EQ(Failure("train: {learning_rate: fast}\n"),
            "c.yaml:1:24: train.learning_rate: must be a number, not \"fast\"");
  EXPECT_EQ(Failure("train: {learning_rate: .nan}\n"),
            "c.yaml:1:24: train.learning_rate: must be a number, not \".nan\"");
  EXPECT_EQ(Failure("train: {learning_rate: 1e999}\n"),
            "c.yaml:1:24: train.learning_rate: must be a number, not \"1e999\"");
  EXPECT_EQ(Failure("mlp: [4, x]\n"), "c.yaml:1:10: mlp[1]: must be a whole number, not \"x\"");
}

TEST(ReaderTest, NamesTheAllowedRangeOrChoices) {
  EXPECT_EQ(Failure("train: {batch_size: 0}\n"), "c.yaml:1:21: train.batch_size: must be 1 to 1048576, not \"0\"");
  EXPECT_EQ(Failure("train: {learning_rate: -0.1}\n"),
            "c.yaml:1:24: train.learning_rate: must be 0 to 10, not \"-0.1\"");
  EXPECT_EQ(Failure("mlp: [4, 0]\n"), "c.yaml:1:10: mlp[1]: must be >= 1, not \"0\"");
  EXPECT_EQ(Failure("features: {a: {type: categoric}}\n"),
            "c.yaml:1:22: features.a.type: unknown value \"categoric\"; did you mean \"categorical\"? "
            "It is one of: numeric, categorical");
}

TEST(ReaderTest, RefusesTheWrongShape) {
  EXPECT_EQ(Failure("train: 5\n"), "c.yaml:1:8: train: must be a map of keys, not a single value");
  EXPECT_EQ(Failure("train: [5]\n"), "c.yaml:1:8: train: must be a map of keys, not a list");
  EXPECT_EQ(Failure("seed: [1]\n"), "c.yaml:1:7: seed: must be a single value, not a list");
  EXPECT_EQ(Failure("seed: {a: 1}\n"), "c.yaml:1:7: seed: must be a single value, not a map of keys");
  EXPECT_EQ(Failure("mlp: {a: 1}\n"), "c.yaml:1:6: mlp: must be a list, not a map of keys");
  EXPECT_EQ(Failure("layers: {a: 1}\n"), "c.yaml:1:9: layers: must be a list, not a map of keys");
  EXPECT_EQ(Failure("layers: [a]\n"), "c.yaml:1:10: layers[0]: must be a map of keys, not a single value");
  EXPECT_EQ(Failure("features: [a]\n"), "c.yaml:1:11: features: must be a map of names, not a list");
  EXPECT_EQ(Failure("features: {a: 5}\n"), "c.yaml:1:15: features.a: must be a map of keys, not a single value");
  EXPECT_EQ(Failure("[a, b]\n"), "c.yaml:1:1: must be a map of keys, not a list");
  EXPECT_EQ(Failure("hello\n"), "c.yaml:1:1: must be a map of keys, not a single value");
  EXPECT_THAT(Failure("train: {note: }\n"), HasSubstr("train.note: has no value"));
  EXPECT_THAT(Failure("seed: ~\n"), HasSubstr("c.yaml:1:7: seed: has no value"));
}

TEST(ReaderTest, TellsMissingRequiredKeys) {
  EXPECT_EQ(Failure("features:\n  a: {vocabulary: x}\n"),
            "c.yaml:2:6: features.a.type: is required and has no default");
  // A key that is wrongly spelled explains a missing one, so it is told first.
  EXPECT_EQ(Failure("features:\n  a: {typ: numeric}\n"),
            "c.yaml:2:7: features.a.typ: unknown key; did you mean \"type\"? (and 1 more)");
}

TEST(ReaderTest, TellsTheFirstOfSeveralProblems) {
  EXPECT_EQ(Failure("train: {batch_size: 0, learning_rate: 11}\nseed: x\n"),
            "c.yaml:1:21: train.batch_size: must be 1 to 1048576, not \"0\" (and 2 more)");
}

TEST(ReaderTest, ReportsWhatASettingsStructRejects) {
  EXPECT_EQ(Failure("train:\n  note: forbidden\n"), "c.yaml:2:9: train.note: must not be forbidden");
}

TEST(ReaderTest, RefusesBadRanges) {
  EXPECT_THAT(Failure("features:\n  C{1..}: {type: numeric}\n"), HasSubstr("c.yaml:2:3: features.C{1..}: "));
  EXPECT_THAT(Failure("features:\n  C{5..1}: {type: numeric}\n"), HasSubstr("goes down"));
  EXPECT_THAT(Failure("features:\n  C{1..9999999}: {type: numeric}\n"), HasSubstr("more than 10000 names"));
  EXPECT_THAT(Failure("features:\n  C{1..100}{1..101}: {type: numeric}\n"), HasSubstr("more than 10000 names"));
  EXPECT_THAT(Failure("features:\n  A{1..6000}: {type: numeric}\n  B{1..6000}: {type: numeric}\n"),
              HasSubstr("more than 10000 names"));
}

TEST(ReaderTest, ReplacesEnvironmentVariables) {
  setenv("SLUICE_TEST_DIR", "/data/click logs", 1);
  setenv("SLUICE_TEST_EMPTY", "", 1);
  setenv("SLUICE_TEST_NUMBER", "42", 1);
  unsetenv("SLUICE_TEST_UNSET");
  TestSettings s;
  const Status status = Read(R"(
files: ["${SLUICE_TEST_DIR}/a", "${SLUICE_TEST_UNSET:-/none}/b", "${SLUICE_TEST_EMPTY:-x}", "a$${b}$c"]
seed: ${SLUICE_TEST_NUMBER}
)",
                             &s);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_THAT(s.files, ElementsAre("/data/click logs/a", "/none/b", "x", "a${b}$c"));
  EXPECT_EQ(s.seed, 42);
  EXPECT_EQ(Failure("files:\n  - ${SLUICE_TEST_UNSET}/a\n"),
            "c.yaml:2:5: files[0]: environment variable SLUICE_TEST_UNSET is not set "
            "(write ${SLUICE_TEST_UNSET:-default} to give a default)");
  EXPECT_THAT(Failure("train: {note: \"${A\"}\n"), HasSubstr("no closing brace"));
  EXPECT_THAT(Failure("train: {note: \"${1A}\"}\n"), HasSubstr("not the name of an environment variable"));
}

TEST(ReaderTest, AppliesOverridesOfEveryForm) {
  TestSettings s;
  const Status status = Read(
      "layers: [{name: a, type: linear, width: 3}, {name: b, type: dropout}]\nfeatures: {\"C{{1.x\": {type: "
      "numeric}}\n",
      &s,
      {"train.batch_size=16", "files=[a, \"b,c\"]", "layers.0.width=9", "layers[1].rate=0.25", "train.note=x=y: z",
       "features.C{2..3}={type: categorical}", "features.\"C{{1.x\".vocabulary=v", "mlp=[]",
       "features.C3.init.scale=7"});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(s.train.batch_size, 16);
  EXPECT_THAT(s.files, ElementsAre("a", "b,c"));
  EXPECT_EQ(s.layers[0].width, 9);
  EXPECT_EQ(s.layers[1].rate, 0.25);
  EXPECT_EQ(s.train.note, "x=y: z");
  EXPECT_TRUE(s.mlp.empty());
  ASSERT_EQ(s.features.size(), 3u);
  EXPECT_EQ(s.features[0].first, "C{1.x");
  EXPECT_EQ(s.features[0].second.vocabulary, "v");
  EXPECT_EQ(s.features[2].first, "C3");
  EXPECT_EQ(s.features[2].second.init.scale, 7);
}

TEST(ReaderTest, ReadsOverridesWithoutAFile) {
  TestSettings s;
  ASSERT_TRUE(ReadOverrides({"files=-", "train.note="}, &s).ok());
  EXPECT_THAT(s.files, ElementsAre("-"));
  EXPECT_EQ(ReadOverrides({"train.batch=1"}, &s).message(),
            "--set train.batch=1: train.batch: unknown key; did you mean \"batch_size\"?");
}

TEST(ReaderTest, ReadsASettingFromAnOptionOfAnotherName) {
  TestSettings s;
  ASSERT_TRUE(ReadOption("--batch", "train.batch_size", "8", &s).ok());
  ASSERT_TRUE(ReadOption("--input", "files", "[a, b]", &s).ok());
  EXPECT_EQ(s.train.batch_size, 8);
  EXPECT_THAT(s.files, ElementsAre("a", "b"));
  EXPECT_EQ(ReadOption("--batch", "train.batch_size", "0", &s).message(),
            "--batch 0: train.batch_size: must be 1 to 1048576, not \"0\"");
}

TEST(ReaderTest, NamesTheOptionOfABadOverride) {
  const std::string yaml = "seed: 1\nlayers: [{name: a, type: dropout}]\n";
  EXPECT_EQ(Failure(yaml, {"train.batch_size=0"}),
            "--set train.batch_size=0: train.batch_size: must be 1 to 1048576, not \"0\"");
  EXPECT_EQ(Failure(yaml, {"train.batch_size"}), "--set train.batch_size: has no \"=\"; write --set key=value");
  EXPECT_EQ(Failure(yaml, {"=3"}), "--set =3: a key is empty");
  EXPECT_EQ(Failure(yaml, {"a..b=3"}), "--set a..b=3: a key is empty");
  EXPECT_EQ(Failure(yaml, {"layers.1.rate=0"}), "--set layers.1.rate=0: index 1 is beyond the list, which has 1 item");
  EXPECT_EQ(Failure(yaml, {"layers.x.rate=0"}), "--set layers.x.rate=0: \"x\" is not an index into a list");
  EXPECT_EQ(Failure(yaml, {"seed.x=0"}),
            "--set seed.x=0: \"x\" looks for a key inside a single value (set at c.yaml:1:7)");
  EXPECT_THAT(Failure(yaml, {"files=[a"}), HasSubstr("--set files=[a:1:"));
}

TEST(ReaderTest, RefusesWhatIsNotYaml) {
  EXPECT_THAT(Failure("train: [1, 2\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(Failure("train: {\n  batch_size: 3\n"), HasSubstr("not valid YAML"));
  EXPECT_EQ(Failure("train:\n\tbatch_size: 4\n"), "c.yaml:2:1: a tab is used for indentation; use spaces");
  EXPECT_EQ(Failure(std::string("seed: 1\ntrain\0: 4\n", 18)), "c.yaml:2:6: a NUL byte (0x00) in the text");
  EXPECT_EQ(Failure("train: {note: \xff}\n"), "c.yaml:1:15: byte 0xff is not UTF-8 text");
  EXPECT_EQ(Failure("train: {note: \xc0\x80}\n"), "c.yaml:1:15: byte 0xc0 is not UTF-8 text");
  EXPECT_EQ(Failure("train: {note: \xed\xa0\x80}\n"), "c.yaml:1:15: byte 0xed is not UTF-8 text");
  EXPECT_EQ(Failure("train: {note: \xe2\x82"), "c.yaml:1:15: byte 0xe2 is not UTF-8 text");
  EXPECT_THAT(Failure("train: {note: \"a\\0b\"}\n"), HasSubstr("c.yaml:1:15: an escape stands for a NUL byte"));
  EXPECT_THAT(Failure("train: {note: \"\\N\"}\n"), HasSubstr("c.yaml:1:15: an escape stands for"));
  EXPECT_EQ(Failure("seed: 1\ntrain: {}\nseed: 2\n"), "c.yaml:3:1: key \"seed\" is given twice, first in line 1");
  EXPECT_EQ(Failure("seed: 1\n---\nseed: 2\n"), "c.yaml: holds more than one YAML document; keep one");
  EXPECT_EQ(Failure(""), "c.yaml: is empty");
  EXPECT_EQ(Failure("# nothing\n"), "c.yaml: holds no settings");
  EXPECT_THAT(Failure("? [a, b]\n: 3\n"), HasSubstr("a key must be plain text"));
  EXPECT_THAT(Failure("seed: *nowhere\n"), HasSubstr("not valid YAML"));
}

TEST(ReaderTest, AcceptsUtf8AndAByteOrderMark) {
  TestSettings s;
  ASSERT_TRUE(Read("\xef\xbb\xbftrain: {note: \xc3\xa9t\xc3\xa9 \xf0\x9f\x8c\x8a}\n", &s).ok());
  EXPECT_EQ(s.train.note, "\xc3\xa9t\xc3\xa9 \xf0\x9f\x8c\x8a");
}

TEST(ReaderTest, BoundsDepthSizeAndAliases) {
  EXPECT_THAT(Failure("train: " + std::string(50, '[') + std::string(50, ']') + "\n"),
              HasSubstr("nested more than 32 levels"));
  EXPECT_THAT(Failure("train: " + std::string(200000, '[')), HasSubstr("c.yaml:1:"));
  EXPECT_THAT(Failure("seed: 1 #" + std::string(kMaxDocumentBytes, 'x')), HasSubstr("longer than 4 MiB"));
  // Nine levels of nine aliases each would be 387 million values.
  std::string bomb = "a0: &a0 [x]\n";
  for (int i = 1; i <= 9; ++i) {
    bomb += fmt::format("a{0}: &a{0} [", i);
    for (int k = 0; k < 9; ++k) bomb += fmt::format("{}*a{}", k ? ", " : "", i - 1);
    bomb += "]\n";
  }
  EXPECT_THAT(Failure(bomb), HasSubstr("once aliases are copied"));
  EXPECT_THAT(Failure("files: &a [*a]\n"), HasSubstr("an alias refers to a value that is not finished"));
}

TEST(ReaderTest, CopiesAliases) {
  TestSettings s;
  ASSERT_TRUE(Read("features:\n  a: &f {type: numeric}\n  b: *f\n", &s).ok());
  EXPECT_EQ(s.features[1].second.type, "numeric");
}

TEST(ReaderTest, TellsBadFilesApart) {
  const auto folder = std::filesystem::temp_directory_path() / "sluice_reader_test";
  std::filesystem::create_directories(folder);
  TestSettings s;
  EXPECT_EQ(ReadFile((folder / "none.yaml").string(), {}, &s).code(), StatusCode::kNotFound);
  EXPECT_THAT(ReadFile(folder.string(), {}, &s).message(), HasSubstr("is a folder"));
  const std::string path = (folder / "c.yaml").string();
  std::ofstream(path).close();
  EXPECT_EQ(ReadFile(path, {}, &s).message(), path + ": is empty");
  std::ofstream(path) << "seed: 3\n" << std::string(kMaxDocumentBytes, '#');
  EXPECT_THAT(ReadFile(path, {}, &s).message(), HasSubstr("longer than 4 MiB"));
  std::ofstream(path) << "seed: 3\nsede: 4\n";
  EXPECT_THAT(ReadFile(path, {}, &s).message(), HasSubstr(path + ":2:1: sede: unknown key; did you mean \"seed\"?"));
  std::ofstream(path) << "seed: 3\n";
  ASSERT_TRUE(ReadFile(path, {"seed=4"}, &s).ok());
  EXPECT_EQ(s.seed, 4);
  std::filesystem::remove_all(folder);
}

TEST(WriterTest, ReadsBackIdentically) {
  TestSettings s;
  s.seed = std::numeric_limits<int64_t>::min();
  s.files = {"a",
             "",
             "true",
             "1",
             "-",
             "~",
             "null",
             "No",
             "a: b",
             "x #y",
             "$HOME ${HOME}",
             "tab\there\nline",
             "quote\"back\\slash",
             "\xf0\x9f\x8c\x8a",
             "[x]",
             "{y}",
             "*z",
             " lead",
             "\x01"};
  s.bounds = {0.1,
              1.0 / 3,
              1e-300,
              1e300,
              std::numeric_limits<double>::infinity(),
              -0.0,
              std::numeric_limits<double>::denorm_min()};
  s.mlp = {};
  s.train.note = "x: {y}";
  s.features = {{"a b", {.type = "numeric", .vocabulary = "", .init = {}}},
                {"C{1..3}", {.type = "categorical", .vocabulary = "v", .init = {.kind = "uniform", .scale = 0.3}}},
                {"no", {.type = "numeric", .vocabulary = "${x}", .init = {}}}};
  s.layers = {{.name = "l", .type = "linear", .width = 4}, {.name = "d", .type = "dropout", .rate = 0.1}};
  const std::string yaml = ToYaml(s);
  TestSettings again;
  const Status status = ReadText(yaml, "again", {}, &again);
  ASSERT_TRUE(status.ok()) << status.message() << "\n" << yaml;
  EXPECT_TRUE(Equal(s, again)) << yaml << "\n" << ToYaml(again);
  EXPECT_EQ(again.files, s.files);
  EXPECT_EQ(again.bounds, s.bounds);
  EXPECT_EQ(again.features[1].first, "C{1..3}");
  EXPECT_EQ(again.features[2].second.vocabulary, "${x}");
  EXPECT_EQ(again.layers[1].rate, 0.1);
}

TEST(WriterTest, SeesEveryDifference) {
  TestSettings a;
  TestSettings b;
  EXPECT_TRUE(Equal(a, b));
  b.train.learning_rate = std::nextafter(a.train.learning_rate, 1);
  EXPECT_FALSE(Equal(a, b));
}

TEST(WriterTest, IsPleasantToRead) {
  TestSettings s;
  s.features = {{"C1", {.type = "numeric", .vocabulary = "", .init = {}}}};
  EXPECT_EQ(ToYaml(s), R"(seed: 1
files: []
mlp: [400, 400]
bounds: []
train:
  batch_size: 2048
  learning_rate: 0.02
  overlap: true
  note: ""
features:
  C1: {type: numeric, vocabulary: "", init: {kind: normal, scale: 0.01}}
layers: []
)");
}

}  // namespace
}  // namespace sluice::config
