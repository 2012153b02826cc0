#pragma once

#include "data/column_ops.h"
#include "data/text_reader.h"

namespace sluice::data {

// Lines of values between separators: Criteo's layout and csv.
// Criteo: label, 13 integers, 26 hexadecimal strings between tabs; prediction also takes lines without the label.
class DelimitedReader : public TextReader {
 public:
  using TextReader::TextReader;

  void Parse(Piece* piece) const override;

 protected:
  void FindSamples(Piece* piece, SampleBlock* block) const override;

 private:
  bool FindSamplesByLines(const Piece& piece, SampleBlock* block) const;
  void AppendValue(const char* begin, const char* end, std::string* out) const;
  int64_t Tokenise(Piece* piece) const;
  int64_t TokeniseQuoted(Piece* piece) const;
  void ChooseRows(Piece* piece, int64_t num_records, const std::vector<int>& columns, int file_columns) const;
  bool KeepsBySplit(const Piece& piece, const TextRows& values, int64_t row, std::string_view record,
                    const std::vector<int>& columns, std::string* what) const;
};

// Names of Criteo's columns: label, I1..I13, C1..C26.
std::vector<std::string> CriteoColumns();

}  // namespace sluice::data
