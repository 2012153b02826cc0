#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "data/schema.h"
#include "nn/net.h"

namespace sluice::train {

// What each input of a parameter stands for: "C3.5" is column 5 of field C3's embedding, "dense.I2" a numeric feature,
// "C1*C2" a dot product. Two models whose fields differ agree about the labels of the fields they share, so that a warm
// start moves weights to where their field now is. Walks the net's graph from its inputs as far as columns have names.
class ParamLabels {
 public:
  // `renamed` maps this model's field names to those that the labels use.
  ParamLabels(const nn::NetSpec& spec, const data::Schema& schema, const std::map<std::string, std::string>& renamed);

  // Labels along dimension `dimension` of a parameter; null where its positions have no names.
  const std::vector<std::string>* Find(const std::string& param, size_t dimension) const;

 private:
  using Labels = std::vector<std::string>;
  void AddBlock(const nn::BlockConfig& block, const data::Schema& schema);
  std::string FieldLabel(const std::string& name) const;

  std::map<std::string, std::string> renamed_;
  std::map<std::string, Labels> edges_;                          // only edges whose columns have names
  std::map<std::pair<std::string, size_t>, Labels> labels_;      // of a parameter's dimension
};

}  // namespace sluice::train
