#include <filesystem>

#include "base/log.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "service/parameter_server.h"
#include "train/api.h"

namespace sluice::cli {

void AddInspect(Application* application) {
  struct Arguments {
    train::InspectOptions options;
    std::string key;
    service::ServiceConfig service;
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb =
      application->Add("inspect",
                       "Show a checkpoint's schema, tables and sizes, or one key's row; or a running parameter "
                       "server.");
  verb->Argument("model", &args->options.checkpoint,
                 "A checkpoint or run folder, or the HOST:PORT of a parameter server.", true);
  verb->Option("--key", "FIELD=VALUE", &args->key, "Show this value's row with its count and last use.");
  verb->Option("--raw-key", "NUMBER", &args->options.key, "Show the row of a 64-bit key (decimal or 0x...).");
  verb->Option("--table", "NAME", &args->options.table, "Table of --raw-key.");
  verb->Flag("--digest", &args->options.digest, "Print one hash of every row, slot and dense parameter.");
  verb->Option("--token-file", "FILE", &args->service.token_file, "Parameter servers: the token to show.");
  verb->Option("--tls-ca", "FILE", &args->service.tls_ca,
               "Parameter servers: the certificate (PEM) that vouches for them.");
  verb->Option("--tls-name", "NAME", &args->service.tls_name, "Parameter servers: the name in their certificate.");
  verb->Flag("--json", &args->options.json, "Print JSON.");
  verb->Action([args] {
    InitLogging(true);
    train::InspectOptions options = args->options;
    std::error_code error;
    if (service::IsAddress(options.checkpoint) && !std::filesystem::exists(options.checkpoint, error)) {
      if (!args->key.empty() || !options.key.empty() || !options.table.empty() || options.digest)
        return InvalidArgument(
            "{} is a running parameter server; --key, --raw-key, --table and --digest ask checkpoints",
            options.checkpoint);
      auto report = service::InspectServer(options.checkpoint, args->service, options.json);
      if (!report.ok()) return report.status();
      return PrintLine(*report);
    }
    if (!args->key.empty()) {
      const size_t equals = args->key.find('=');
      if (equals == std::string::npos || equals == 0)
        return InvalidArgument("--key {}: write --key FIELD=VALUE", args->key);
      options.field = args->key.substr(0, equals);
      options.value = args->key.substr(equals + 1);
    }
    const int questions = !args->key.empty() + !options.key.empty() + options.digest;
    if (questions > 1) return InvalidArgument("choose one of --key, --raw-key and --digest");
    if (options.key.empty() != options.table.empty()) return InvalidArgument("--raw-key and --table go together");
    auto text = train::Inspect(options);
    if (!text.ok()) return text.status();
    return PrintLine(*text);
  });
}

}  // namespace sluice::cli
