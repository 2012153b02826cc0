#include <nlohmann/json.hpp>

#include "service/engine.h"

namespace sluice::service {

using Json = nlohmann::json;

std::string ServiceState::ToJson() const {
  Json json = {{"format", 1},
               {"generation", generation},
               {"cut", cut},
               {"step", step},
               {"samples", samples},
               {"dropped", dropped},
               {"lost_pushes", lost_pushes},
               {"leases", leases.ToJson()}};
  Json& list = json["clients"] = Json::array();
  for (const Client& client : clients)
    list.push_back({{"id", client.id},
                    {"name", client.name},
                    {"worker", client.worker},
                    {"applied", client.applied},
                    {"clock", client.clock},
                    {"start", client.start}});
  return json.dump(1);
}

Result<ServiceState> ServiceState::FromJson(const std::string& text) {
  ServiceState state;
  try {
    const Json json = Json::parse(text);
    if (json.at("format") != 1) return DataLoss("service state: format {} is not known", json.at("format").dump());
    state.generation = json.value("generation", int64_t{0});
    state.cut = json.value("cut", uint64_t{0});
    state.step = json.at("step");
    state.samples = json.at("samples");
    state.lost_pushes = json.at("lost_pushes");
    state.dropped = json.at("dropped").get<std::vector<uint64_t>>();
    SLUICE_ASSIGN_OR_RETURN(state.leases, LeaseBook::FromJson(json.at("leases")));
    for (const Json& client : json.at("clients"))
      state.clients.push_back({client.at("id"), client.at("name"), client.at("worker"), client.at("applied"),
                               client.at("clock"), client.at("start")});
  } catch (const Json::exception& error) {
    return DataLoss("service state: {}", error.what());
  }
  return state;
}

void ServiceState::BeginGeneration(int64_t number) {
  generation = number;
  clients.clear();
  dropped.clear();
  leases.ReturnAll();
}

std::string LayoutText(const ModelLayout& layout) {
  Json json = {{"protocol", kProtocol},     {"salts", layout.salts},         {"params", layout.params},
               {"buffers", layout.buffers}, {"scalar", layout.scalar_bytes}, {"model", layout.description}};
  Json& tables = json["tables"] = Json::array();
  for (const auto& table : layout.tables)
    tables.push_back({{"name", table.name}, {"dim", table.dim}, {"vocabularies", table.vocabularies}});
  return json.dump();
}

int64_t ReplyMessage::size() const {
  return static_cast<int64_t>(sizeof(header) + text.size() + rows.size() + dense.size() + buffers.size());
}

}  // namespace sluice::service
