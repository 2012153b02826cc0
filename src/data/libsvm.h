#pragma once

#include <vector>

#include "data/text_reader.h"

namespace sluice::data {

// Sparse lines: libsvm "label index:value ...", libffm "label field:key:value ..."; a value left out is 1, a # starts a
// comment, qid:N is the group where data.group is qid.
class LibsvmReader : public TextReader {
 public:
  // REQUIRES: the plan's columns passed CheckLibsvmColumn.
  LibsvmReader(Plan plan, TextOptions options, bool with_fields, bool ignore_unknown);

  void Parse(Piece* piece) const override;

 protected:
  void FindSamples(Piece* piece, SampleBlock* block) const override;

 private:
  // Calls line(begin, stop, end, number) for every line that is not blank; stop is its end without the comment.
  template <class Line>
  static void ForEachLine(const Piece& piece, const Line& line);
  bool KeepsBySplit(const Piece& piece, const char* begin, const char* end) const;

  // Numbers of fields (libffm) or indices (libsvm) that an operation takes.
  struct Interval {
    int64_t low;
    int64_t high;
    int op;
  };
  // A sample on its way into the batch.
  struct Row;

  int FindOp(int64_t number) const;
  bool ParseLine(const char* begin, const char* end, Row* row) const;
  bool ParseToken(const char* begin, const char* end, Row* row) const;
  bool AddValue(int op_index, const char* key, const char* key_end, double value, Row* row) const;
  void FinishRow(Row* row) const;

  bool with_fields_;
  bool ignore_unknown_;
  std::vector<Interval> intervals_;
  std::vector<int> op_of_number_;  // for small numbers; -1: none
  std::vector<Key> missing_;       // of each operation
};

// A number such as 7, a range such as 1-13, or * for all.
bool ParseInterval(const std::string& text, int64_t* low, int64_t* high);

}  // namespace sluice::data
