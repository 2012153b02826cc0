#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/features.h"
#include "data/filter.h"
#include "data/piece.h"
#include "data/plan.h"

namespace sluice::data {

// The packed format, version 1: transformed samples in columns.
//   header   64 bytes: magic "SLUICEPK", version u32, length u32 of the JSON, xxh3 u64 of everything up to the first
//   block
//            (this field taken as 0); then JSON (FittedFeatures and label names) and zeros to a multiple of 64.
//   blocks   of up to kPackedBlock samples; columns one after another, each on a multiple of 8 bytes: labels, sample
//            weights, dense, groups; for each field offsets (several keys), the number of keys u64, keys, weights.
//   index    for each block: offset, bytes, samples, xxh3 of its bytes; all u64.
//   trailer  offset of the index, number of blocks, number of samples, xxh3 of the index and these three, magic
//   "SLUICEND".
// Integers and floats are little-endian. Every byte of the file is covered by a checksum.
inline constexpr uint32_t kPackedVersion = 1;
inline constexpr int64_t kPackedBlock = 4096;

// A packed file's parts, checked. Views into the bytes given.
struct PackedFile {
  struct Block {
    uint64_t offset;
    uint64_t bytes;
    uint64_t samples;
    uint64_t hash;
  };
  FittedFeatures features;
  Schema schema;
  std::vector<Block> blocks;
  int64_t num_samples = 0;
  std::span<const std::byte> bytes;

  // Errors: kDataLoss naming `name` and what is wrong: another format or version, cut short, a checksum.
  static Result<PackedFile> Parse(std::span<const std::byte> bytes, const std::string& name);
  // All samples of a block, after its checksum was verified.
  Status Decode(int64_t block, const std::string& name, Batch* batch) const;
};

// Maps packed files into memory and hands out their blocks.
class PackedReader : public PieceReader {
 public:
  // Errors: kDataLoss as PackedFile; kInvalidArgument naming the feature that a file lacks or has with other
  // transforms.
  static Result<std::unique_ptr<PieceReader>> Open(const std::vector<std::string>& files,
                                                   const FittedFeatures& features, const Schema& schema,
                                                   SampleFilter filter);
  ~PackedReader() override;

  Result<bool> Cut(Piece* piece) override;
  void Parse(Piece* piece) const override;
  void Index(Piece* piece) const override;
  void ParseSamples(const SampleRefs& samples, Piece* out) const override;
  Status Rewind(const BlockPlace& place) override;
  bool rewindable() const override { return true; }

 private:
  struct Mapped {
    std::string path;
    void* address = nullptr;
    size_t size = 0;
    PackedFile file;
    std::vector<int> fields;  // file's field of each of schema_.fields
    std::vector<int> dense;
  };
  PackedReader(Schema schema, SampleFilter filter) : schema_(std::move(schema)), filter_(std::move(filter)) {}
  // The wanted columns of a whole block; `whole` is scratch.
  Status ReadBlock(const BlockPlace& place, Batch* whole, Batch* batch) const;
  bool KeepsBySplit(int64_t ordinal) const;
  Status Match(const FittedFeatures& features, Mapped* mapped) const;

  Schema schema_;
  SampleFilter filter_;
  std::vector<Mapped> files_;
  BlockPlace place_;
};

// Samples in a packed file, and the features it was made with.
Result<int64_t> CountPackedSamples(const std::string& path);
Result<FittedFeatures> ReadPackedFeatures(const std::string& path);

}  // namespace sluice::data
