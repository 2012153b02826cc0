// A program of your own around the library: makes a small click log, trains a model on it, and scores a file with it.
//   cmake --install build --prefix PREFIX
//   cmake -S examples/embed_in_cpp -B example -DCMAKE_PREFIX_PATH=PREFIX && cmake --build example
//   example/embed_in_cpp WORK_FOLDER
#include <cstdio>
#include <string>

#include "config/reader.h"
#include "data/synth.h"
#include "train/api.h"

namespace {

sluice::Status Run(const std::string& folder) {
  sluice::data::SynthConfig log;
  log.output = folder + "/clicks.tsv";
  log.samples = 20000;
  log.rows = 1000;
  SLUICE_ASSIGN_OR_RETURN(const auto made, sluice::data::Synthesize(log));

  // Settings can be filled in directly, or read from YAML as the command line does.
  sluice::train::RunConfig config;
  SLUICE_RETURN_IF_ERROR(sluice::config::ReadText(R"(
data: {format: criteo, split: {kind: tail, fraction: 0.1}}
model: {preset: deepfm, dim: 4, mlp: [32]}
train: {batch_size: 256}
)",
                                                  "settings", {}, &config));
  config.data.train = {log.output};
  sluice::train::TrainOptions options;
  options.run_dir = folder + "/run";
  options.quiet = true;
  SLUICE_ASSIGN_OR_RETURN(const auto trained, sluice::train::Train(config, options));
  std::printf("AUC %.4f after %lld steps; the teacher's is %.4f\n", trained.eval.auc,
              static_cast<long long>(trained.steps), made.tail.auc);

  sluice::train::PredictOptions predict;
  predict.checkpoint = options.run_dir;
  predict.inputs = {log.output};
  predict.output = folder + "/scores.csv";
  SLUICE_ASSIGN_OR_RETURN(const auto scored, sluice::train::Predict(predict));
  std::printf("%lld scores in %s\n", static_cast<long long>(scored.samples), predict.output.c_str());
  return sluice::Status::Ok();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: embed_in_cpp WORK_FOLDER\n");
    return 2;
  }
  const sluice::Status status = Run(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.message().c_str());
  return status.ExitCode();
}
