#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/config.h"

namespace sluice::data {

// What a rank sees of a data file, so that ranks can tell whether they see the same.
struct FileFingerprint {
  std::string path;
  int64_t bytes = -1;  // -1: not a regular file
  uint64_t hash = 0;   // of its first and last 64 KiB and of 16 places of 4 KiB in between
};

// The files of data.train and data.eval, in the order in which they are read. Reads at most 192 KiB of each.
// Errors       kNotFound and kIo naming the file.
Result<std::vector<FileFingerprint>> FingerprintFiles(const DataConfig& data);

// One line of text for each file, and the files of such text again.
// Errors       kDataLoss where the text is none of FormatFingerprints.
std::string FormatFingerprints(const std::vector<FileFingerprint>& files);
Result<std::vector<FileFingerprint>> ParseFingerprints(const std::string& text);

// The first difference in words ("a.tsv has 10 bytes here and 12 there"); empty: none.
std::string DifferenceOfFiles(const std::vector<FileFingerprint>& here, const std::vector<FileFingerprint>& there);

}  // namespace sluice::data
