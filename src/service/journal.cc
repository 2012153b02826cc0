#include "service/journal.h"

#include <algorithm>
#include <sstream>

#include <nlohmann/json.hpp>

#include "base/log.h"

namespace sluice::service {

using Json = nlohmann::json;

Result<std::unique_ptr<Journal>> Journal::Open(const std::string& path) {
  auto journal = std::make_unique<Journal>();
  // A line that a killed server began stays a line of its own.
  auto old = ReadWholeFile(path);
  if (!old.ok() && old.status().code() != StatusCode::kNotFound) return old.status();
  SLUICE_RETURN_IF_ERROR(journal->file_.Open(path, true));
  if (old.ok() && !old->empty() && old->back() != '\n') SLUICE_RETURN_IF_ERROR(journal->file_.Write("\n"));
  SLUICE_RETURN_IF_ERROR(journal->file_.Flush());
  return journal;
}

Status Journal::Begin(const std::string& path, int64_t generation) {
  return WriteFileAtomically(path, Json{"generation", generation}.dump() + "\n");
}

void Journal::Write(const std::string& line) {
  std::lock_guard lock(mutex_);
  if (failed_) return;
  Status status = file_.Write(line + "\n");
  if (status.ok()) status = file_.Flush();
  if (status.ok()) return;
  failed_ = true;
  SLUICE_ERROR("the journal of this server cannot be written; after a restart input may be lent twice: {}",
               status.message());
}

void Journal::Joined(uint64_t client, const std::string& name, bool worker, int64_t start) {
  Write(Json{"joined", client, name, worker, start}.dump(-1, ' ', false, Json::error_handler_t::replace));
}
void Journal::Offered(const InputPlan& plan) {
  Write(Json{"offered", plan.ranges, plan.epochs, plan.fingerprint}.dump());
}
void Journal::Lent(int64_t lease, uint64_t client) { Write(Json{"lent", lease, client}.dump()); }
void Journal::Finished(int64_t lease, int64_t samples) { Write(Json{"finished", lease, samples}.dump()); }
void Journal::Returned(int64_t lease, int64_t samples) { Write(Json{"returned", lease, samples}.dump()); }
void Journal::Cut(uint64_t cut) { Write(Json{"cut", cut}.dump()); }
void Journal::Gone(uint64_t client, uint64_t applied, bool lost) { Write(Json{"gone", client, applied, lost}.dump()); }

namespace {

void RecoverJoined(const ServiceState::Client& client, ServiceState* state) {
  const bool known =
      std::any_of(state->clients.begin(), state->clients.end(), [&](const auto& c) { return c.id == client.id; });
  if (!known) state->clients.push_back(client);
}

void RecoverGone(uint64_t client, uint64_t applied, bool lost, ServiceState* state) {
  const auto found =
      std::find_if(state->clients.begin(), state->clients.end(), [&](const auto& c) { return c.id == client; });
  if (found != state->clients.end()) {
    if (applied > found->applied) {
      const uint64_t pushes = applied - found->applied;
      state->lost_pushes += static_cast<int64_t>(pushes);
      state->lost_since += static_cast<int64_t>(pushes);
      SLUICE_WARN("{} pushes of client {} are lost: it is gone, and they are not in the checkpoint", pushes,
                  found->name);
    }
    state->clients.erase(found);
  }
  state->leases.Forgive(client);
  if (!lost) return;
  if (std::find(state->dropped.begin(), state->dropped.end(), client) == state->dropped.end())
    state->dropped.push_back(client);
  state->dropped_since.emplace_back(client, applied);
}

Status RecoverLine(const Json& line, ServiceState* state) {
  const std::string what = line.at(0);
  LeaseBook& leases = state->leases;
  if (what == "joined") {
    RecoverJoined({line.at(1), line.at(2), line.at(3), 0, line.at(4), line.at(4)}, state);
    return Status::Ok();
  }
  if (what == "generation") {
    if (const int64_t number = line.at(1); number > state->generation) state->BeginGeneration(number);
    return Status::Ok();
  }
  if (what == "cut") return Status::Ok();
  if (what == "offered") return leases.Offer({line.at(1), line.at(2), line.at(3)});
  if (what == "lent")
    leases.RecoverLent(line.at(1), line.at(2));
  else if (what == "finished")
    leases.RecoverFinished(line.at(1), line.at(2));
  else if (what == "returned")
    leases.RecoverReturned(line.at(1), line.at(2));
  else if (what == "gone")
    RecoverGone(line.at(1), line.at(2), line.at(3), state);
  else
    return DataLoss("\"{}\" is not known", what);
  return Status::Ok();
}

}  // namespace

Status RecoverFromJournal(const std::string& path, ServiceState* state) {
  auto text = ReadWholeFile(path);
  if (!text.ok()) return text.status().code() == StatusCode::kNotFound ? Status::Ok() : text.status();
  std::istringstream stream(*text);
  std::vector<std::pair<int64_t, Json>> lines;  // by number
  int64_t number = 0;
  size_t begin = 0;  // after the line of the checkpoint's cut
  for (std::string line; std::getline(stream, line);) {
    ++number;
    Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded() || !json.is_array() || json.empty()) continue;  // torn
    lines.emplace_back(number, std::move(json));
    if (state->cut != 0 && lines.back().second == Json{"cut", state->cut}) begin = lines.size();
  }
  for (size_t i = begin; i < lines.size(); ++i) {
    Status status;
    try {
      status = RecoverLine(lines[i].second, state);
    } catch (const Json::exception& error) {
      status = DataLoss("{}", error.what());
    }
    if (!status.ok()) return status.WithContext(fmt::format("{}, line {}", path, lines[i].first));
  }
  return Status::Ok();
}

}  // namespace sluice::service
