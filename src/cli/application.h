#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace CLI {
class App;
}

namespace sluice::cli {

// The arguments of one verb and what it does. Values that the arguments are stored into must outlive the application.
class Verb {
 public:
  explicit Verb(CLI::App* app);
  ~Verb();

  // Positional arguments; the list takes all that remain.
  void Argument(const std::string& name, std::string* value, const std::string& text, bool required);
  void Arguments(const std::string& name, std::vector<std::string>* values, const std::string& text, bool required);
  // "-o,--output": one value; the list form may be given again and again.
  void Option(const std::string& names, const std::string& value_name, std::string* value, const std::string& text);
  void Options(const std::string& names, const std::string& value_name, std::vector<std::string>* values,
               const std::string& text);
  void Flag(const std::string& names, bool* value, const std::string& text);

  // A verb after this one, as in `sluice launch -n 4 eval RUN`; this one's options may stand before it or behind.
  // The action of the last verb is the one that runs.
  Verb* Add(const std::string& name, const std::string& text);

  // Printed at the end of --help.
  void Footer(std::function<std::string()> text);
  void Action(std::function<Status()> action) { action_ = std::move(action); }

 private:
  friend class Application;
  Status Act() const;

  CLI::App* app_;
  std::function<Status()> action_;
  std::vector<std::unique_ptr<Verb>> verbs_;
};

// The program: verbs, their arguments, and how failures become messages and exit codes (docs/reference/exit-codes.md).
class Application {
 public:
  Application();
  ~Application();
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;

  Verb* Add(const std::string& name, const std::string& text);

  // Parses the arguments and runs the verb. A failure is one line on standard error, "sluice: <message>".
  // Returns the exit code; throws nothing.
  int Run(int argc, const char* const* argv);

  // --help of each verb, for docs/reference/cli.md.
  std::vector<std::pair<std::string, std::string>> HelpTexts() const;

 private:
  Status Dispatch(std::vector<std::string> arguments);

  std::unique_ptr<CLI::App> app_;
  std::vector<std::unique_ptr<Verb>> verbs_;
};

}  // namespace sluice::cli
