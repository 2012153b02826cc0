#include "base/log.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "train/api.h"

namespace sluice::cli {

void AddInspect(Application* application) {
  struct Arguments {
    train::InspectOptions options;
    std::string key;
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb = application->Add("inspect", "Show a checkpoint's schema, tables and sizes, or one key's row.");
  verb->Argument("model", &args->options.checkpoint, "A checkpoint or run folder.", true);
  verb->Option("--key", "FIELD=VALUE", &args->key, "Show this value's row with its count and last use.");
  verb->Option("--raw-key", "NUMBER", &args->options.key, "Show the row of a 64-bit key (decimal or 0x...).");
  verb->Option("--table", "NAME", &args->options.table, "Table of --raw-key.");
  verb->Flag("--digest", &args->options.digest, "Print one hash of every row, slot and dense parameter.");
  verb->Flag("--json", &args->options.json, "Print JSON.");
  verb->Action([args] {
    InitLogging(true);
    train::InspectOptions options = args->options;
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
