#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/sections.h"
#include "base/status.h"
#include "checkpoint/manifest.h"

namespace sluice::checkpoint {

// The sections of one checkpoint folder.
// Threads      const calls may overlap.
// Errors       as SectionReader; Open: kNotFound where there is no manifest, kDataLoss where the manifest is damaged or of
//              another version, or a file is missing or has another length than the manifest says.
class CheckpointReader : public SectionReader {
 public:
  static Result<std::unique_ptr<CheckpointReader>> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const Manifest& manifest() const { return manifest_; }
  // A value of the manifest. Errors: kDataLoss naming it.
  Result<std::string> Value(const std::string& name) const;

  std::vector<std::string> Names(const std::string& prefix) const override;
  bool Has(const std::string& name) const override;
  Result<std::vector<std::byte>> Read(const std::string& name) const override;

 private:
  std::string path_;
  Manifest manifest_;
  std::map<std::string, FileReader> files_;
};

}  // namespace sluice::checkpoint
