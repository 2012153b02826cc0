#include "checkpoint/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

namespace sluice::checkpoint {
namespace {

constexpr size_t kBufferBytes = size_t{256} << 10;
static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

}  // namespace

int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kBf16: return 2;
    case DType::kF32:
    case DType::kU32: return 4;
    case DType::kF64:
    case DType::kI64:
    case DType::kU64: return 8;
  }
  SLUICE_CHECK(false, "element type {}", static_cast<int>(dtype));
}

const char* DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kBf16: return "BF16";
    case DType::kF32: return "F32";
    case DType::kU32: return "U32";
    case DType::kF64: return "F64";
    case DType::kI64: return "I64";
    case DType::kU64: return "U64";
  }
  SLUICE_CHECK(false, "element type {}", static_cast<int>(dtype));
}

int64_t TensorInfo::num_elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

SafetensorsWriter::SafetensorsWriter(std::string path, std::vector<TensorInfo> tensors)
    : path_(std::move(path)), place_(path_), tensors_(std::move(tensors)), parts_(tensors_.size()) {}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  place_.Discard();
}

Result<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(const std::string& path,
                                                                     std::vector<TensorInfo> tensors,
                                                                     const std::map<std::string, std::string>& metadata) {
  std::set<std::string> names;
  for (const TensorInfo& tensor : tensors)
    if (!names.insert(tensor.name).second) return InvalidArgument("{}: two tensors named {}", path, tensor.name);

  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter(path, std::move(tensors)));
  // Wide elements come first in the file, so that every tensor lies aligned to its elements.
  std::vector<size_t> order(writer->tensors_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return SizeOf(writer->tensors_[a].dtype) > SizeOf(writer->tensors_[b].dtype);
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const size_t i : order) {
    const TensorInfo& tensor = writer->tensors_[i];
    writer->parts_[i].at = offset;
    writer->parts_[i].end = offset + tensor.size_bytes();
    header[tensor.name] = {{"dtype", DTypeName(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {writer->parts_[i].at, writer->parts_[i].end}}};
    offset = writer->parts_[i].end;
  }
  // Text that is not UTF-8 would be refused by every reader; it is replaced in metadata and names alike.
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const auto begin = static_cast<int64_t>(sizeof(uint64_t) + text.size());
  for (Part& part : writer->parts_) {
    part.at += begin;
    part.end += begin;
  }

  if (writer->place_.in_place()) return IoError("{}: is a device or a pipe; safetensors needs a file", path);
  writer->fd_ = ::open(writer->place_.beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (writer->fd_ < 0) return IoError("{}: cannot create: {}", writer->place_.beside, std::strerror(errno));
  const uint64_t length = text.size();
  SLUICE_RETURN_IF_ERROR(writer->WriteAt(0, std::as_bytes(std::span(&length, 1))));
  SLUICE_RETURN_IF_ERROR(writer->WriteAt(sizeof(length), std::as_bytes(std::span(text))));
  return writer;
}

Status SafetensorsWriter::WriteAt(int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return IoError("{}: cannot write: {}", place_.beside, std::strerror(errno));
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += n;
  }
  return Status::Ok();
}

Status SafetensorsWriter::Flush(Part* part) {
  SLUICE_RETURN_IF_ERROR(WriteAt(part->at, part->buffer));
  part->at += static_cast<int64_t>(part->buffer.size());
  part->buffer.clear();
  return Status::Ok();
}

Status SafetensorsWriter::Append(size_t index, std::span<const std::byte> bytes) {
  Part& part = parts_.at(index);
  SLUICE_CHECK(part.at + static_cast<int64_t>(part.buffer.size() + bytes.size()) <= part.end,
               "more bytes than tensor {} has", tensors_[index].name);
  if (part.buffer.size() + bytes.size() > kBufferBytes) SLUICE_RETURN_IF_ERROR(Flush(&part));
  if (bytes.size() > kBufferBytes) {
    SLUICE_RETURN_IF_ERROR(WriteAt(part.at, bytes));
    part.at += static_cast<int64_t>(bytes.size());
  } else {
    part.buffer.insert(part.buffer.end(), bytes.begin(), bytes.end());
  }
  return Status::Ok();
}

Status SafetensorsWriter::Finish() {
  for (size_t i = 0; i < parts_.size(); ++i) {
    SLUICE_RETURN_IF_ERROR(Flush(&parts_[i]));
    SLUICE_CHECK(parts_[i].at == parts_[i].end, "tensor {} lacks {} bytes", tensors_[i].name,
                 parts_[i].end - parts_[i].at);
  }
  if (::fsync(fd_) != 0) return IoError("{}: cannot sync: {}", place_.beside, std::strerror(errno));
  SLUICE_RETURN_IF_ERROR(place_.Commit());
  ::close(std::exchange(fd_, -1));
  return Status::Ok();
}

}  // namespace sluice::checkpoint
