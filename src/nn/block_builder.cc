#include "nn/block_builder.h"

#include "base/check.h"
#include "config/leaf_visitor.h"

namespace sluice::nn {
namespace {

// Sets the fields of a settings struct by name.
class OptionSetter final : public config::LeafVisitor {
 public:
  using LeafVisitor::Field;
  explicit OptionSetter(const OptionList& options) : options_(options), used_(options.size()) {}

  void Field(const char* key, bool& value, const config::Meta&) override { Set(key, value); }
  void Field(const char* key, int64_t& value, const config::Meta&) override { Set(key, value); }
  void Field(const char* key, double& value, const config::Meta&) override { Set(key, value); }
  void Field(const char* key, std::string& value, const config::Meta&) override { Set(key, value); }
  void Field(const char* key, std::vector<std::string>& value, const config::Meta&) override { Set(key, value); }
  void Field(const char* key, std::vector<int64_t>& value, const config::Meta&) override { Set(key, value); }

  void CheckAllUsed(const std::string& type) const {
    for (size_t i = 0; i < options_.size(); ++i)
      SLUICE_CHECK(used_[i], "block type {} has no setting {}", type, options_[i].first);
  }

 private:
  template <class V>
  void Set(const char* key, V& value) {
    for (size_t i = 0; i < options_.size(); ++i) {
      if (options_[i].first != key) continue;
      const V* given = std::get_if<V>(&options_[i].second);
      SLUICE_CHECK(given != nullptr, "setting {} has another type", key);
      value = *given;
      used_[i] = true;
    }
  }

  const OptionList& options_;
  std::vector<bool> used_;
};

}  // namespace

BlockConfig MakeBlock(const std::string& name, const std::string& type, std::vector<std::string> inputs,
                      const OptionList& options) {
  const BlockType* found = FindBlockType(type);
  SLUICE_CHECK(found != nullptr, "there is no block type {}", type);
  BlockConfig block{.name = name, .type = type, .inputs = std::move(inputs), .options = found->make_options()};
  OptionSetter setter(options);
  block.options->Visit(setter);
  setter.CheckAllUsed(type);
  return block;
}

}  // namespace sluice::nn
