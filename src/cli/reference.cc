#include "cli/reference.h"

#include <map>

#include <fmt/format.h>

#include "nn/registry.h"
#include "train/config.h"

namespace sluice::cli {
namespace {

constexpr size_t kWidth = 100;

// The settings of one block type as keys below "model.blocks[type]".
std::vector<config::KeyInfo> BlockKeys(const nn::BlockType& type) {
  std::vector<config::KeyInfo> keys;
  const std::string path = fmt::format("model.blocks[{}]", type.type);
  keys.push_back({.path = path, .section = true, .text = fmt::format("Block type `{}`: {}", type.type, type.text)});
  if (!type.make_options) return keys;
  const auto options = type.make_options();
  for (config::KeyInfo key : config::internal::DescribeVisit([&](config::Visitor& v) { options->Visit(v); })) {
    key.path = path + "." + key.path;
    keys.push_back(std::move(key));
  }
  return keys;
}

}  // namespace

std::vector<config::KeyInfo> RunKeys() {
  std::vector<config::KeyInfo> keys;
  const std::string blocks = "model.blocks[].";
  bool in_blocks = false;
  const auto add_blocks = [&] {
    for (const auto& [name, type] : nn::BlockTypes())
      for (config::KeyInfo& key : BlockKeys(type)) keys.push_back(std::move(key));
  };
  for (config::KeyInfo& key : config::Describe<train::RunConfig>()) {
    const bool block = key.path.starts_with(blocks);
    if (in_blocks && !block) add_blocks();
    in_blocks = block;
    keys.push_back(std::move(key));
  }
  if (in_blocks) add_blocks();
  return keys;
}

std::string SectionOverview() {
  std::string out =
      "Settings, in the configuration file or by --set SECTION.KEY=VALUE (`sluice reference SECTION` explains them):\n";
  std::string line;
  std::string section = "(top)";
  const auto flush = [&] {
    if (!line.empty()) out += line + "\n";
    line.clear();
  };
  const auto start = [&](const std::string& name) {
    flush();
    line = fmt::format("  {:<24}", name);
  };
  start(section);
  for (const config::KeyInfo& key : config::Describe<train::RunConfig>()) {
    if (key.section) continue;
    const size_t dot = key.path.rfind('.');
    const std::string owner = dot == std::string::npos ? "(top)" : key.path.substr(0, dot);
    if (owner != section) {
      section = owner;
      start(owner);
      if (owner.size() > 23) {
        flush();
        line = std::string(26, ' ');
      }
    }
    const std::string name = key.path.substr(dot == std::string::npos ? 0 : dot + 1);
    if (line.size() + 1 + name.size() > kWidth) {
      flush();
      line = std::string(26, ' ');
    }
    line += " " + name;
  }
  flush();
  return out;
}

std::string ConfigReference() {
  return "# Configuration reference\n\n"
         "Made by `sluice reference --markdown`; do not edit. A configuration is one YAML file. Every key has a "
         "default unless\n"
         "it says required; unknown keys are errors. `--set key=value` overrides a key on the command line\n"
         "(`--set train.batch_size=4096`, `--set 'data.train=[a.tsv, b.tsv]'`, `--set model.blocks.0.name=x`). In "
         "values,\n"
         "`${NAME}` and `${NAME:-default}` stand for environment variables, `$${` for a literal `${`. Where the user "
         "chooses\n"
         "names (`<name>`), `C{1..26}`, `{user,item}_id` and the like stand for many names; a later key refines an "
         "earlier one.\n\n" +
         config::MarkdownReference(RunKeys(), 2);
}

}  // namespace sluice::cli
