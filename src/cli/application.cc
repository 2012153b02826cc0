#include "cli/application.h"

#include <algorithm>
#include <cstdio>
#include <new>

#include <CLI/CLI.hpp>

#include "base/version.h"
#include "cli/output.h"
#include "config/text.h"

namespace sluice::cli {
namespace {

// Errors of the command line end with where to look further.
Status Usage(const std::string& message, const std::string& verb) {
  return InvalidArgument("{} (see sluice {}--help)", message, verb.empty() ? "" : verb + " ");
}

std::vector<std::string> LongNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

// What the parser did not know what to do with.
Status Unexpected(const CLI::App& root) {
  const CLI::App* verb = &root;
  while (!verb->get_subcommands().empty()) verb = verb->get_subcommands().back();
  const auto rest = root.remaining(true);
  const std::string name = verb == &root ? "" : verb->get_name();
  if (rest.empty()) return Usage("an argument is not understood", name);
  const std::string word = rest.front().substr(0, rest.front().find('='));
  if (word.size() < 2 || word[0] != '-')
    return Usage(fmt::format("unexpected argument \"{}\"", config::Shown(word)), name);
  const std::string nearest = config::Nearest(word, LongNames(*verb));
  return Usage(fmt::format("unknown option {}; did you mean {}?", config::Shown(word), nearest), name);
}

}  // namespace

Verb::Verb(CLI::App* app) : app_(app) { app->get_formatter()->column_width(36); }
Verb::~Verb() = default;

Verb* Verb::Add(const std::string& name, const std::string& text) {
  verbs_.push_back(std::make_unique<Verb>(app_->add_subcommand(name, text)->fallthrough()));
  return verbs_.back().get();
}

Status Verb::Act() const {
  for (const auto& verb : verbs_)
    if (verb->app_->parsed()) return verb->Act();
  return action_();
}

void Verb::Argument(const std::string& name, std::string* value, const std::string& text, bool required) {
  app_->add_option(name, *value, text)->type_name("")->required(required);
}

void Verb::Arguments(const std::string& name, std::vector<std::string>* values, const std::string& text,
                     bool required) {
  app_->add_option(name, *values, text)->type_name("")->required(required);
}

void Verb::Option(const std::string& names, const std::string& value_name, std::string* value,
                  const std::string& text) {
  app_->add_option(names, *value, text)->type_name(value_name);
}

void Verb::Options(const std::string& names, const std::string& value_name, std::vector<std::string>* values,
                   const std::string& text) {
  // Without extra arguments `--set a=1 file` leaves the file alone.
  app_->add_option(names, *values, text)->type_name(value_name)->allow_extra_args(false);
}

void Verb::Flag(const std::string& names, bool* value, const std::string& text) { app_->add_flag(names, *value, text); }

void Verb::Footer(std::function<std::string()> text) { app_->footer(std::move(text)); }

Application::Application()
    : app_(std::make_unique<CLI::App>("Trains click-through-rate models with huge embedding tables on CPUs.",
                                      "sluice")) {
  app_->set_version_flag("--version", std::string("sluice ") + kVersion);
  app_->get_formatter()->column_width(36);
}

Application::~Application() = default;

Verb* Application::Add(const std::string& name, const std::string& text) {
  verbs_.push_back(std::make_unique<Verb>(app_->add_subcommand(name, text)));
  return verbs_.back().get();
}

std::vector<std::pair<std::string, std::string>> Application::HelpTexts() const {
  std::vector<std::pair<std::string, std::string>> texts;
  for (const auto& verb : verbs_) texts.emplace_back(verb->app_->get_name(), verb->app_->help("sluice"));
  return texts;
}

Status Application::Dispatch(std::vector<std::string> arguments) {
  if (arguments.empty()) return Usage("a verb is missing, such as train or predict", "");
  if (arguments[0].empty() || arguments[0][0] != '-') {
    std::vector<std::string> names;
    for (const auto& verb : verbs_) names.push_back(verb->app_->get_name());
    if (std::find(names.begin(), names.end(), arguments[0]) == names.end()) {
      return Usage(fmt::format("unknown verb \"{}\"; did you mean \"{}\"?", config::Shown(arguments[0]),
                               config::Nearest(arguments[0], names)),
                   "");
    }
  }
  std::string verb_name;
  if (arguments[0].empty() || arguments[0][0] != '-') verb_name = arguments[0];
  std::reverse(arguments.begin(), arguments.end());
  try {
    app_->parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    return Print(app_->help());
  } catch (const CLI::CallForVersion&) {
    return Print(app_->version() + "\n");
  } catch (const CLI::ExtrasError&) {
    return Unexpected(*app_);
  } catch (const CLI::ParseError& error) {
    return Usage(error.what(), verb_name);
  }
  for (const auto& verb : verbs_)
    if (verb->app_->parsed()) return verb->Act();
  return Usage("a verb is missing, such as train or predict", "");
}

int Application::Run(int argc, const char* const* argv) {
  Status status;
  try {
    status = Dispatch({argv + 1, argv + std::max(argc, 1)});
  } catch (const StatusError& error) {
    status = error.status();
  } catch (const std::bad_alloc&) {
    status = Status(StatusCode::kResourceExhausted, "out of memory");
  } catch (const std::exception& error) {
    status = Status(StatusCode::kInternal, fmt::format("{}; this is a bug, please report it", error.what()));
  }
  if (!status.ok()) std::fprintf(stderr, "sluice: %s\n", OneLine(status.message()).c_str());
  return status.ExitCode();
}

}  // namespace sluice::cli
