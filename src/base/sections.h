#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace sluice {

// Where a checkpoint's parts are written: named runs of bytes, each with a checksum of its own. Implemented in
// src/checkpoint; a module that has state knows this contract only.
// Threads      one section at a time per writer; several writers may fill one checkpoint.
// Errors       kIo naming the file (disk full, permission); the checkpoint is then dropped whole.
class SectionWriter {
 public:
  virtual ~SectionWriter() = default;
  virtual Status Begin(const std::string& name) = 0;
  virtual Status Write(std::span<const std::byte> bytes) = 0;
  virtual Status End() = 0;

  // A whole section at once.
  Status Put(const std::string& name, std::span<const std::byte> bytes) {
    SLUICE_RETURN_IF_ERROR(Begin(name));
    SLUICE_RETURN_IF_ERROR(Write(bytes));
    return End();
  }
};

// Reads the sections of a checkpoint; checksums are verified before the bytes are returned.
// Threads      const calls may overlap.
// Errors       kNotFound naming the section; kDataLoss naming file and section where a checksum or length is wrong.
class SectionReader {
 public:
  virtual ~SectionReader() = default;
  // Names that start with `prefix`, sorted.
  virtual std::vector<std::string> Names(const std::string& prefix) const = 0;
  virtual bool Has(const std::string& name) const = 0;
  virtual Result<std::vector<std::byte>> Read(const std::string& name) const = 0;
};

}  // namespace sluice
