#include <fmt/format.h>

#include "cli/output.h"
#include "cli/reference.h"
#include "cli/verbs.h"
#include "config/text.h"

namespace sluice::cli {
namespace {

struct ReferenceArguments {
  std::string section;
  bool markdown = false;
  bool verbs = false;
};

Result<std::string> SectionText(const std::string& section) {
  const auto keys = RunKeys();
  const std::string text = config::HelpText(keys, 100, section);
  if (!text.empty()) return text;
  std::vector<std::string> sections;
  for (const auto& key : keys)
    if (key.section) sections.push_back(key.path);
  return InvalidArgument("no setting starts with \"{}\"; did you mean \"{}\"?", config::Shown(section),
                         config::Nearest(section, sections));
}

std::string VerbsReference(const Application& application) {
  std::string text =
      "# Command line reference\n\nMade by `sluice reference --markdown --verbs`; do not edit. Exit codes are in "
      "[exit-codes.md](exit-codes.md).\n";
  for (const auto& [name, help] : application.HelpTexts())
    text += fmt::format("\n## sluice {}\n\n```\n{}```\n", name, help);
  return text;
}

}  // namespace

void AddReference(Application* application) {
  auto args = std::make_shared<ReferenceArguments>();
  Verb* verb = application->Add("reference", "Explain every setting: text, default, range, unit.");
  verb->Argument("section", &args->section, "Only keys that start with this, such as train or data.split.", false);
  verb->Flag("--markdown", &args->markdown, "All settings as docs/reference/config.md.");
  verb->Flag("--verbs", &args->verbs, "With --markdown: the verbs as docs/reference/cli.md.");
  verb->Action([args, application] {
    if (args->verbs && !args->markdown) return InvalidArgument("--verbs goes with --markdown");
    if (args->markdown) return Print(args->verbs ? VerbsReference(*application) : ConfigReference());
    auto text = SectionText(args->section);
    return text.ok() ? Print(*text) : text.status();
  });
}

}  // namespace sluice::cli
