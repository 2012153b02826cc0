#include "data/scan.h"

#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "data/text_reader.h"

namespace sluice {
namespace {

struct Found {
  std::vector<uint32_t> positions, line_ends;
  bool odd = false, quote = false;
  bool operator==(const Found&) const = default;
};

Found Naive(const std::string& text, char separator) {
  Found found;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') found.line_ends.push_back(static_cast<uint32_t>(found.positions.size()));
    if (text[i] == '\n' || text[i] == separator) found.positions.push_back(static_cast<uint32_t>(i));
    found.odd = found.odd || static_cast<signed char>(text[i]) <= 0;
    found.quote = found.quote || text[i] == '"';
  }
  return found;
}

using FindFunction = size_t (*)(const char*, size_t, char, uint32_t*, uint32_t*, size_t*, data::ScanFlags*);
using CountFunction = size_t (*)(const char*, size_t);

void ExpectLikeNaive(FindFunction find, CountFunction count) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const CounterRng rng(seed, 1);
    std::string text(rng.Below(0, 400), ' ');
    const char kinds[] = {'a', 'b', '\t', '\n', ',', '"', '\0', '\xff'};
    const uint64_t num_kinds = 3 + rng.Below(1, 6);
    for (size_t i = 0; i < text.size(); ++i) text[i] = kinds[rng.Below(10 + i, num_kinds)];
    // What lies behind the text must not count.
    std::string padded = text + std::string(64, '\n') + std::string(1, '"');
    Found found;
    found.positions.resize(text.size());
    found.line_ends.resize(text.size());
    size_t lines = 0;
    data::ScanFlags flags;
    found.positions.resize(
        find(padded.data(), text.size(), '\t', found.positions.data(), found.line_ends.data(), &lines, &flags));
    found.line_ends.resize(lines);
    found.odd = flags.nul_or_non_ascii;
    found.quote = flags.quote;
    ASSERT_EQ(found, Naive(text, '\t')) << "seed " << seed;
    ASSERT_EQ(count(padded.data(), text.size()), lines) << "seed " << seed;
  }
}

TEST(ScanTest, FindsWhatAPlainLoopFinds) {
  ExpectLikeNaive(plain::FindSeparators, plain::CountNewlines);
#if defined(__x86_64__)
  if (BestIsa() >= Isa::kAvx2) ExpectLikeNaive(avx2::FindSeparators, avx2::CountNewlines);
  if (BestIsa() >= Isa::kAvx512) ExpectLikeNaive(avx512::FindSeparators, avx512::CountNewlines);
#endif
}

TEST(WholeRecordsTest, NewlinesInQuotesDoNotEndARecord) {
  const auto whole = [](const std::string& text) { return data::WholeRecords(text.data(), text.size(), true, ','); };
  EXPECT_EQ(whole("a,b\nc"), 4u);
  EXPECT_EQ(whole("a,\"b\nc"), 0u);
  EXPECT_EQ(whole("x\na, \"b\nc"), 2u);
  EXPECT_EQ(whole("a,\"b\nc\"\nd"), 8u);
  EXPECT_EQ(whole("a,\"b\"\"\nc\"\nd,\"e\n"), 10u);
  EXPECT_EQ(whole("5\" pipe\nx"), 8u);  // a quote inside a value is text
  EXPECT_EQ(data::WholeRecords("a,\"b\nc", 6, false, ','), 5u);
}

TEST(ValidTextTest, AcceptsUtf8Alone) {
  const auto valid = [](const std::string& text) { return data::ValidText(text.data(), text.size()); };
  EXPECT_TRUE(valid(""));
  EXPECT_TRUE(valid("plain text of more than eight bytes"));
  EXPECT_TRUE(valid("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"));
  for (const std::string& bad : {std::string(1, '\0'), std::string("123456789\0abc", 13), std::string("\x80"), std::string("\xc3"),
                                 std::string("\xc0\xaf"), std::string("\xe0\x80\x80"), std::string("\xed\xa0\x80"),
                                 std::string("\xf4\x90\x80\x80"), std::string("\xf5\x80\x80\x80"), std::string("abc\xe2\x82")})
    EXPECT_FALSE(valid(bad));
}

}  // namespace
}  // namespace sluice
