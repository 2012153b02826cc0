#include "telemetry/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

namespace sluice::telemetry {
namespace {

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
    table[i] = crc;
  }
  return table;
}

template <class Word>
void AppendLittleEndian(Word word, std::string* out) {
  for (size_t i = 0; i < sizeof(word); ++i) out->push_back(static_cast<char>(word >> (8 * i)));
}

// The wire format of protocol buffers: a key of field number and type, then the value.
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 128; value >>= 7) out->push_back(static_cast<char>(value | 128));
  out->push_back(static_cast<char>(value));
}
void AppendKey(int field, WireType type, std::string* out) { AppendVarint(static_cast<uint64_t>(field << 3 | type), out); }
void AppendBytes(int field, std::string_view bytes, std::string* out) {
  AppendKey(field, kBytes, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

double UnixSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// message Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; SessionLog ... = 7 }
std::string BeginEvent(int64_t step) {
  std::string event;
  AppendKey(1, kFixed64, &event);
  AppendLittleEndian(std::bit_cast<uint64_t>(UnixSeconds()), &event);
  AppendKey(2, kVarint, &event);
  AppendVarint(static_cast<uint64_t>(step), &event);
  return event;
}

// The checksum of a record is rotated and shifted, so that a checksum of data that holds checksums is sound.
uint32_t MaskedCrc(std::string_view bytes) { return std::rotr(Crc32c(bytes), 15) + 0xa282ead8u; }

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = MakeCrcTable();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = kTable[(crc ^ static_cast<uint8_t>(c)) & 255] ^ (crc >> 8);
  return ~crc;
}

Status EventFile::Open(const std::string& folder, int64_t resume_step) {
  SLUICE_RETURN_IF_ERROR(file_.Open(
      fmt::format("{}/events.out.tfevents.{:.0f}.{}.sluice", folder, std::floor(UnixSeconds()), ::getpid())));
  open_ = true;
  std::string version = BeginEvent(0);
  AppendBytes(3, "brain.Event:2", &version);
  SLUICE_RETURN_IF_ERROR(WriteRecord(version));
  if (resume_step >= 0) {
    std::string session;  // message SessionLog { SessionStatus status = 1; }, START = 1
    AppendKey(1, kVarint, &session);
    AppendVarint(1, &session);
    std::string event = BeginEvent(resume_step + 1);
    AppendBytes(7, session, &event);
    SLUICE_RETURN_IF_ERROR(WriteRecord(event));
  }
  return file_.Flush();
}

Status EventFile::Write(int64_t step, const std::string& prefix,
                        const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;  // message Summary { repeated Value value = 1; }
  for (const auto& [name, value] : values) {
    if (!std::isfinite(value)) continue;
    std::string scalar;  // message Value { string tag = 1; float simple_value = 2; }
    AppendBytes(1, prefix + "/" + name, &scalar);
    AppendKey(2, kFixed32, &scalar);
    AppendLittleEndian(std::bit_cast<uint32_t>(static_cast<float>(value)), &scalar);
    AppendBytes(1, scalar, &summary);
  }
  if (summary.empty()) return Status::Ok();
  std::string event = BeginEvent(step);
  AppendBytes(5, summary, &event);
  SLUICE_RETURN_IF_ERROR(WriteRecord(event));
  return file_.Flush();
}

Status EventFile::WriteRecord(std::string_view message) {
  std::string length;
  AppendLittleEndian(static_cast<uint64_t>(message.size()), &length);
  std::string record = length;
  AppendLittleEndian(MaskedCrc(length), &record);
  record.append(message);
  AppendLittleEndian(MaskedCrc(message), &record);
  return file_.Write(record);
}

Status EventFile::Close() {
  open_ = false;
  return file_.Finish();
}

}  // namespace sluice::telemetry
