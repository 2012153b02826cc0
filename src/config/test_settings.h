#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "config/schema.h"

namespace sluice::config {

// A settings struct that uses everything the schema offers; for the tests and the fuzzer of this module.
struct TestLayer {
  std::string name;
  std::string type;
  int64_t width = 0;  // of type "linear"
  double rate = 0.5;  // of type "dropout"

  template <class V>
  void Visit(V& v) {
    v.Field("name", name, {.text = "Name of the layer.", .required = true});
    v.Field("type", type, {.text = "Type of the layer.", .choices = {"linear", "dropout"}, .required = true});
    // Further keys depend on the type, which has been read by now.
    if (type == "linear") v.Field("width", width, {.text = "Outputs.", .min = 1, .required = true});
    if (type == "dropout") v.Field("rate", rate, {.text = "Share dropped.", .min = 0, .max = 0.99});
  }
};

struct TestInit {
  std::string kind = "normal";
  double scale = 0.01;
  template <class V>
  void Visit(V& v) {
    v.Field("kind", kind, {.text = "Distribution.", .choices = {"normal", "uniform", "zero"}});
    v.Field("scale", scale, {.text = "Scale.", .min = 0});
  }
};

struct TestFeature {
  std::string type;
  std::string vocabulary;
  TestInit init;
  template <class V>
  void Visit(V& v) {
    v.Field("type", type, {.text = "Type.", .choices = {"numeric", "categorical"}, .required = true});
    v.Field("vocabulary", vocabulary, {.text = "Shared vocabulary."});
    v.Struct("init", init, {.text = "Initial values."});
  }
};

struct TestTrain {
  int64_t batch_size = 2048;
  double learning_rate = 0.02;
  bool overlap = true;
  std::string note;
  template <class V>
  void Visit(V& v) {
    v.Field("batch_size", batch_size, {.text = "Samples per step.", .unit = "samples", .min = 1, .max = 1 << 20});
    v.Field("learning_rate", learning_rate, {.text = "Step size.", .min = 0, .max = 10});
    v.Field("overlap", overlap, {.text = "Overlap the stages.", .performance_only = true});
    v.Field("note", note, {.text = "Any text."});
    if (note == "forbidden") v.Reject("note", "must not be forbidden");
  }
};

struct TestSettings {
  int64_t seed = 1;
  std::vector<std::string> files;
  std::vector<int64_t> mlp = {400, 400};
  std::vector<double> bounds;
  TestTrain train;
  std::vector<std::pair<std::string, TestFeature>> features;
  std::vector<TestLayer> layers;
  template <class V>
  void Visit(V& v) {
    v.Field("seed", seed, {.text = "Seed."});
    v.Field("files", files, {.text = "Input files."});
    v.Field("mlp", mlp, {.text = "Widths.", .min = 1});
    v.Field("bounds", bounds, {.text = "Bounds.", .min = -1});
    v.Struct("train", train, {.text = "Training."});
    v.Map("features", features, {.text = "Features."});
    v.List("layers", layers, {.text = "Layers."});
  }
};

}  // namespace sluice::config
