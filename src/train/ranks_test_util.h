#pragma once

// What tests of several ranks share: training on N ranks that are threads, and every number of the models that come
// out.

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "checkpoint/checkpoint_reader.h"
#include "train/checkpointing.h"
#include "train/train_test_util.h"

namespace sluice::train {

// All numbers of a trained model by name: dense parameters, slots, buffers, and rows with their slots by key.
inline std::map<std::string, std::vector<double>> Numbers(const std::string& run) {
  std::map<std::string, std::vector<double>> numbers;
  auto path = FindModel(run);
  EXPECT_TRUE(path.ok()) << path.status().message();
  auto reader = checkpoint::CheckpointReader::Open(path.ok() ? *path : "");
  if (!reader.ok()) return numbers;
  auto header = ReadHeader(**reader);
  auto schema = header->features.MakeSchema();
  const auto read = [&]<class T>(T) {
    auto state = ModelState<T>::Make(header->config, schema);
    EXPECT_TRUE(state.ok()) << state.status().message();
    const Status loaded = LoadState(**reader, state->get());
    EXPECT_TRUE(loaded.ok()) << loaded.message();
    ModelState<T>& s = **state;
    numbers["params"].assign(s.params.data(), s.params.data() + s.params.size());
    numbers["slots"].assign(s.slots.data(), s.slots.data() + s.slots.size());
    numbers["buffers"].assign(s.buffers.data(), s.buffers.data() + s.buffers.size());
    for (int t = 0; t < s.tables->size(); ++t) {
      const auto& table = s.tables->table(t);
      table.ForEachRow([&](const embedding::RowView<T>& row) {
        auto& values = numbers[s.tables->need(t).name + "/" + std::to_string(row.key)];
        values.assign(row.weights, row.weights + table.dim());
        values.insert(values.end(), row.slots, row.slots + table.num_slots());
        values.push_back(row.count);
        values.push_back(row.last_use);
      });
    }
  };
  if (header->fp64)
    read(double{});
  else
    read(float{});
  return numbers;
}

// The largest difference, relative to numbers above 1.
inline double LargestDifference(const std::map<std::string, std::vector<double>>& a,
                                const std::map<std::string, std::vector<double>>& b) {
  EXPECT_GT(a.size(), 100u);
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (const auto& [name, values] : a) {
    const auto found = b.find(name);
    if (found == b.end() || found->second.size() != values.size()) {
      ADD_FAILURE() << name << " differs in size";
      return INFINITY;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      const double difference = std::abs(values[i] - found->second[i]) / std::max(1.0, std::abs(values[i]));
      if (!(difference <= largest)) largest = difference;
    }
  }
  return largest;
}
inline double LargestDifference(const std::string& run, const std::string& other) {
  return LargestDifference(Numbers(run), Numbers(other));
}

class RanksTest : public TrainTest {
 protected:
  static RunConfig Fp64(const std::string& preset) {
    RunConfig config = Config();
    config.precision = "fp64";
    config.model.preset = preset;
    config.train.batch_size = 100;  // not a multiple of the chunks
    config.train.eval_every_epoch = false;
    config.strategy.timeout_s = 60;
    return config;
  }
  static TrainReport MustTrainOn(int ranks, const RunConfig& config, const std::string& run) {
    auto report = Train(config, {.run_dir = run, .quiet = true, .ranks = ranks});
    EXPECT_TRUE(report.ok()) << report.status().message();
    return report.ok() ? *report : TrainReport{};
  }
  // A small file of `fields` fields with `keys` keys each on average and two numeric columns. Made once.
  static std::string TinyData(int64_t samples, double keys, int64_t fields = 4) {
    data::SynthConfig synth;
    synth.output = fmt::format("{}/tiny-{}-{}-{}.csv", Folder(), samples, keys, fields);
    synth.format = "csv";
    synth.samples = samples;
    synth.fields = fields;
    synth.dense = 2;
    synth.rows = 400;
    synth.keys_per_field = keys;
    synth.report = false;
    if (!std::filesystem::exists(synth.output)) {
      EXPECT_TRUE(data::Synthesize(synth).ok());
    }
    return synth.output;
  }
  // Its columns: fields of any number of keys where `keys` is above 1, and two numbers.
  static std::vector<std::pair<std::string, data::FeatureConfig>> TinyFeatures(double keys, int64_t fields = 4) {
    std::vector<std::pair<std::string, data::FeatureConfig>> features;
    for (const char* name : {"I1", "I2"}) {
      data::FeatureConfig number;
      number.type = "numeric";
      number.transform = "log";
      features.emplace_back(name, number);
    }
    for (int64_t f = 1; f <= fields; ++f) {
      data::FeatureConfig field;
      field.multi = keys > 1;
      features.emplace_back(fmt::format("C{}", f), field);
    }
    return features;
  }
  // A tiny model of `preset` on such a file: a step takes well below a millisecond.
  static RunConfig Tiny(const std::string& preset, int64_t samples, double keys) {
    RunConfig config = Fp64(preset);
    config.data.train = {TinyData(samples, keys)};
    config.data.format = "csv";
    config.data.split.kind = "none";
    config.features = TinyFeatures(keys);
    config.model.dim = 4;
    config.model.mlp = {8};
    config.model.bottom_mlp = {8};
    config.model.top_mlp = {8};
    config.model.cross_layers = 2;
    config.model.cin_layers = {4, 3};
    config.train.batch_size = 60;
    config.train.overlap = "false";
    return config;
  }
  // Trains on one rank and on others, and compares every number.
  void ExpectEqual(RunConfig config, const std::vector<int>& rank_counts, const std::vector<std::string>& placements,
                   double tolerance) {
    const std::string alone = NewRun();
    const TrainReport one = MustTrain(config, alone);
    for (const std::string& placement : placements) {
      for (const int ranks : rank_counts) {
        config.strategy.placement = placement;
        const std::string run = NewRun();
        const TrainReport many = MustTrainOn(ranks, config, run);
        EXPECT_EQ(many.steps, one.steps);
        EXPECT_LE(LargestDifference(alone, run), tolerance)
            << config.model.preset << ", " << ranks << " ranks, " << placement;
        if (one.evaluated) {
          EXPECT_NEAR(many.eval.auc, one.eval.auc, 1e-6) << placement;
        }
      }
    }
  }
};

inline const std::vector<std::string> kPlacements = {"des", "des_rs", "field_a2a", "rows_a2a"};

}  // namespace sluice::train
