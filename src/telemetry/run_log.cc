#include "telemetry/run_log.h"

#include <string_view>

#include <nlohmann/json.hpp>

#include "telemetry/json_number.h"

namespace sluice::telemetry {
namespace {

// The lines to keep of a log that goes on after `step`.
std::string LinesUpTo(std::string_view text, int64_t step) {
  std::string kept;
  for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const auto json = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
    const bool later = json.is_object() && json.contains("step") && json["step"].is_number() && json["step"] > step;
    if (json.is_discarded() || later) continue;
    kept.append(line);
    kept += '\n';
  }
  return kept;
}

}  // namespace

Status RunLog::Open(const std::string& path, int64_t resume_step) {
  if (resume_step < 0) return file_.Open(path);
  auto before = ReadWholeFile(path);
  if (before.status().code() == StatusCode::kNotFound) return file_.Open(path);
  if (!before.ok()) return before.status();
  SLUICE_RETURN_IF_ERROR(WriteFileAtomically(path, LinesUpTo(*before, resume_step)));
  return file_.Open(path, true);
}

Status RunLog::Write(const StepRecord& record) {
  nlohmann::ordered_json json;
  json["event"] = record.event;
  json["step"] = record.step;
  json["samples"] = record.samples;
  for (const auto& [name, value] : record.values)
    json[name] = JsonNumber<nlohmann::ordered_json>(value);
  SLUICE_RETURN_IF_ERROR(file_.Write(json.dump() + "\n"));
  SLUICE_RETURN_IF_ERROR(file_.Flush());
  return events_.is_open() ? events_.Write(record.step, record.event, record.values) : Status::Ok();
}

Status RunLog::Close() {
  const Status events = events_.is_open() ? events_.Close() : Status::Ok();
  SLUICE_RETURN_IF_ERROR(file_.Finish());
  return events;
}

}  // namespace sluice::telemetry
