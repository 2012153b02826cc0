#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "metric/evaluator.h"

namespace sluice::metric {
namespace {

constexpr size_t kRecordsPerSection = size_t{1} << 20;

// Writes the records in sections "<prefix>/0", "<prefix>/1", ... of bounded size, so that loading is bounded too.
template <class Record>
Status SaveRecords(const ExternalSorter<Record>& sorter, SectionWriter* writer, const std::string& prefix) {
  size_t in_section = 0;
  int64_t sections = 0;
  const auto write = [&](std::span<const Record> records) -> Status {
    while (!records.empty()) {
      if (in_section == 0) SLUICE_RETURN_IF_ERROR(writer->Begin(fmt::format("{}/{}", prefix, sections++)));
      const auto part = records.first(std::min(records.size(), kRecordsPerSection - in_section));
      SLUICE_RETURN_IF_ERROR(writer->Write(std::as_bytes(part)));
      records = records.subspan(part.size());
      in_section += part.size();
      if (in_section == kRecordsPerSection) {
        in_section = 0;
        SLUICE_RETURN_IF_ERROR(writer->End());
      }
    }
    return Status::Ok();
  };
  SLUICE_RETURN_IF_ERROR(sorter.Visit(write));
  return in_section > 0 ? writer->End() : Status::Ok();
}

template <class Record>
Status LoadRecords(const SectionReader& reader, const std::string& prefix, ExternalSorter<Record>* sorter) {
  for (int64_t i = 0; reader.Has(fmt::format("{}/{}", prefix, i)); ++i) {
    SLUICE_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, reader.Read(fmt::format("{}/{}", prefix, i)));
    std::vector<Record> records(bytes.size() / sizeof(Record));
    std::memcpy(records.data(), bytes.data(), records.size() * sizeof(Record));
    SLUICE_RETURN_IF_ERROR(sorter->Add(records));
  }
  return Status::Ok();
}

}  // namespace

Status Evaluator::Save(SectionWriter* writer, const std::string& prefix) const {
  std::vector<double> sums = {static_cast<double>(samples_)};
  for (const Label& label : labels_) {
    const Sums& s = label.sums;
    sums.insert(sums.end(), {s.weight, s.label, s.prediction, s.loss, s.squared_error});
  }
  SLUICE_RETURN_IF_ERROR(writer->Put(prefix + "/sums", std::as_bytes(std::span(sums))));
  for (size_t i = 0; i < labels_.size(); ++i) {
    SLUICE_RETURN_IF_ERROR(SaveRecords(labels_[i].by_score, writer, fmt::format("{}/scores/{}", prefix, i)));
    SLUICE_RETURN_IF_ERROR(SaveRecords(labels_[i].by_group, writer, fmt::format("{}/groups/{}", prefix, i)));
  }
  return Status::Ok();
}

Status Evaluator::Load(const SectionReader& reader, const std::string& prefix) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, reader.Read(prefix + "/sums"));
  std::vector<double> sums(1 + 5 * labels_.size());
  if (bytes.size() != sums.size() * sizeof(double))
    return DataLoss("section {}/sums has {} bytes; {} were expected for {} labels", prefix, bytes.size(),
                    sums.size() * sizeof(double), labels_.size());
  std::memcpy(sums.data(), bytes.data(), bytes.size());
  samples_ = static_cast<int64_t>(sums[0]);
  for (size_t i = 0; i < labels_.size(); ++i) {
    const double* s = &sums[1 + 5 * i];
    labels_[i] = MakeLabel();
    labels_[i].sums = {s[0], s[1], s[2], s[3], s[4]};
    SLUICE_RETURN_IF_ERROR(LoadRecords(reader, fmt::format("{}/scores/{}", prefix, i), &labels_[i].by_score));
    SLUICE_RETURN_IF_ERROR(LoadRecords(reader, fmt::format("{}/groups/{}", prefix, i), &labels_[i].by_group));
  }
  return Status::Ok();
}

}  // namespace sluice::metric
