#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/file.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"

namespace {

const std::string folder =
    std::filesystem::temp_directory_path().string() + "/sluice_fuzz_" + std::to_string(::getpid());

void RemoveFolder() { std::filesystem::remove_all(folder); }

}  // namespace

// A checkpoint folder damaged by the input: a manifest and a file of sections overwritten from some offset on, or cut.
// Either it is refused, or every section that reads has the bytes that were written.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  using namespace sluice::checkpoint;
  if (size < 4) return 0;
  static const std::string section = "some bytes of a section, long enough to be cut in several places";
  static const std::string path = [] {
    std::atexit(RemoveFolder);
    auto writer = CheckpointWriter::Create(folder, 1);
    auto file = writer.value()->OpenFile("model");
    for (const char* name : {"a", "b"}) {
      if (!file.value()->Put(name, std::as_bytes(std::span(section))).ok()) std::abort();
    }
    return writer.value()->Commit({{"k", "v"}}).value();
  }();
  const std::string names[2] = {path + "/" + kManifestName, path + "/model.bin"};
  static const std::string sound[2] = {ReadWholeFile(names[0]).value(), ReadWholeFile(names[1]).value()};

  const int which = data[0] & 1;
  std::string content = sound[which];
  const size_t at = (size_t{data[1]} << 8 | data[2]) % (content.size() + 1);
  if (data[0] & 2) content.resize(at);
  content.replace(at, std::min(size - 3, content.size() - at), reinterpret_cast<const char*>(data) + 3, size - 3);
  {
    FileWriter file;
    if (!file.Open(names[which]).ok() || !file.Write(content).ok() || !file.Finish(false).ok()) std::abort();
  }
  const auto reader = CheckpointReader::Open(path);
  if (reader.ok()) {
    for (const std::string& name : reader.value()->Names("")) {
      const auto bytes = reader.value()->Read(name);
      if (!bytes.ok()) continue;
      if (std::string_view(reinterpret_cast<const char*>(bytes.value().data()), bytes.value().size()) != section)
        std::abort();
    }
  }
  FileWriter file;
  if (!file.Open(names[which]).ok() || !file.Write(sound[which]).ok() || !file.Finish(false).ok()) std::abort();
  return 0;
}
