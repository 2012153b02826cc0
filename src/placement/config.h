#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::placement {

struct DenseConfig {
  std::string mode = "auto";

  template <class V>
  void Visit(V& v) {
    v.Field("mode", mode,
            {.text = "replicated: every rank runs the dense net on the whole batch and nothing of it travels (placement "
                     "des); sharded_batch: each rank runs its share of the batch and dense gradients are summed over "
                     "ranks (des_rs, rows_a2a); auto: what the placement goes with.",
             .choices = {"auto", "replicated", "sharded_batch"}});
  }
};

struct WireConfig {
  std::string partials = "fp32";
  std::string dense_gradients = "fp32";

  template <class V>
  void Visit(V& v) {
    const std::vector<std::string> formats = {"fp32", "bf16"};
    v.Field("partials", partials,
            {.text = "Format in which partial results and their gradients travel; bf16 rounds every addend to 8 bits of "
                     "mantissa and halves the bytes.",
             .choices = formats});
    v.Field("dense_gradients", dense_gradients,
            {.text = "Format in which gradients of the dense net travel.", .choices = formats});
  }
};

// How the ranks of a run share its work. One process alone reads none of it.
struct StrategyConfig {
  std::string preset = "none";
  std::string placement = "auto";
  DenseConfig dense;
  WireConfig wire;
  double timeout_s = 30;
  std::vector<std::string> servers;
  int64_t workers = 1;
  int64_t staleness = 4;

  template <class V>
  void Visit(V& v) {
    v.Field("preset", preset,
            {.text = "A published system: des sets placement des with the dense net replicated (docs/algorithms/des.md); "
                     "ps-async, ps-ssp and ps-sync train through parameter servers: without waiting, with staleness "
                     "bounded by `staleness`, or with one step per clock from the gradients of all workers "
                     "(docs/algorithms/parameter-service.md).",
             .choices = {"none", "des", "ps-async", "ps-ssp", "ps-sync"}});
    v.Field("placement", placement,
            {.text = "How keys and samples meet: des, partial results all-reduced; des_rs, partial results "
                     "reduce-scattered; rows_a2a, unique rows pulled and their gradients pushed; auto, the one that sends "
                     "the fewest bytes for the first batch of the data.",
             .choices = {"auto", "des", "des_rs", "rows_a2a"}});
    v.Struct("dense", dense, {.text = "The dense net."});
    v.Struct("wire", wire, {.text = "Number formats of messages; sums are in fp32 either way."});
    v.Field("timeout_s", timeout_s,
            {.text = "A rank that does not answer for so long is lost; the others then leave with exit code 4.",
             .unit = "seconds",
             .min = 0.1,
             .performance_only = true});
    v.Field("servers", servers,
            {.text = "Presets ps-*: addresses of the parameter servers, host:port, in the order of their shards. The first "
                     "one also lends the input and writes checkpoints with the others.",
             .performance_only = true});
    v.Field("workers", workers,
            {.text = "Presets ps-ssp and ps-sync: workers that servers wait for before the first batch.", .min = 1,
             .max = 4096});
    v.Field("staleness", staleness,
            {.text = "Preset ps-ssp: batches by which a worker may be ahead of the slowest one.", .unit = "batches",
             .min = 1, .max = 1000});
  }
};

}  // namespace sluice::placement
