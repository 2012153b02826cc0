#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sluice::placement {

struct DenseConfig {
  std::string mode = "auto";
  bool overlap = true;
  int64_t bucket_kib = 512;
  int64_t check_every_steps = 0;

  template <class V>
  void Visit(V& v) {
    v.Field(
        "mode", mode,
        {.text = "replicated: every rank runs the dense net on the whole batch and nothing of it travels (placement "
                 "des); sharded_batch: each rank runs its share of the batch and dense gradients are summed over "
                 "ranks (des_rs, rows_a2a); auto: what the placement goes with.",
         .choices = {"auto", "replicated", "sharded_batch"}});
    v.Field(
        "overlap", overlap,
        {.text = "Sum dense gradients over ranks while backward goes on, bucket by bucket, from the last layers to the "
                 "first. Results are the same either way.",
         .performance_only = true});
    v.Field(
        "bucket_kib", bucket_kib,
        {.text =
             "Size of a bucket. With three ranks or more the order of additions, and so the last bits, depend on it.",
         .unit = "KiB",
         .min = 1,
         .max = 1 << 20});
    v.Field(
        "check_every_steps", check_every_steps,
        {.text =
             "Compare the dense parameters of all ranks, bit by bit, every so many steps; a difference ends the run "
             "with an error. 0: never.",
         .unit = "steps",
         .min = 0,
         .performance_only = true});
  }
};

// The placement of one field's vocabulary.
struct FieldPlacementConfig {
  std::string placement = "des_rs";

  template <class V>
  void Visit(V& v) {
    v.Field("placement", placement,
            {.text = "Placement of the field's vocabulary; the name alone may stand for it: C1: field_a2a. Fields that "
                     "share a vocabulary share rows and so the placement. des beside others divides the batch and is "
                     "then des_rs.",
             .choices = {"des", "des_rs", "rows_a2a", "field_a2a"}});
  }
};

// Rows that a field's vocabulary will have.
struct FieldRowsConfig {
  int64_t rows = 0;

  template <class V>
  void Visit(V& v) {
    v.Field("rows", rows,
            {.text = "Rows of the field's vocabulary in the end; the number alone may stand for it.",
             .unit = "rows",
             .min = 0});
  }
};

// What placement auto goes by (docs/algorithms/planner.md).
struct PlannerConfig {
  std::string link;
  std::string latency = "50us";
  std::string memory_per_rank;
  std::string largest_home;
  int64_t samples = 65536;
  std::vector<std::pair<std::string, FieldRowsConfig>> rows;

  template <class V>
  void Visit(V& v) {
    v.Field(
        "link", link,
        {.text = "Bandwidth of a rank's link, each way: 10Gbit, 100Mbit/s, 1.2GB/s; or measure, at the start, between "
                 "the ranks. Then the least time of a step decides; empty: the fewest bytes do. What is measured may "
                 "differ from run to run, and the order of additions with it."});
    v.Field("latency", latency, {.text = "Time of a short message over a link that is not measured: 50us, 0.2ms."});
    v.Field(
        "memory_per_rank", memory_per_rank,
        {.text = "Memory that rows, dense parameters and buffers of a rank may take: 8GiB; a vocabulary that does not "
                 "fit is divided over ranks. Empty: no bound."});
    v.Field(
        "largest_home", largest_home,
        {.text =
             "Memory of a vocabulary's rows up to which one rank may hold it whole: 2GiB; larger ones are divided over "
             "ranks even where one had room. Empty: no bound."});
    v.Field("samples", samples,
            {.text = "Samples of the training data that statistics are taken of; at least one batch.",
             .unit = "samples",
             .min = 1});
    v.Map("rows", rows, {.text = "Rows that fields will have, where more is known than the sample tells."});
  }
};

struct WireConfig {
  std::string partials = "fp32";
  std::string rows = "fp32";
  std::string dense_gradients = "fp32";
  std::string dense = "fp32";
  bool packed = false;

  template <class V>
  void Visit(V& v) {
    const std::vector<std::string> formats = {"fp32", "bf16"};
    v.Field(
        "partials", partials,
        {.text = "Format in which partial results and their gradients travel. bf16 halves the bytes: every addend is "
                 "rounded once (relative error up to 2^-9), the sum is in fp32, and where the sum itself travels (des) "
                 "it is rounded once more: error up to 2^-9 of the sum of the addends' magnitudes, plus 2^-9 of the "
                 "sum.",
         .choices = formats});
    v.Field(
        "rows", rows,
        {.text = "Format in which rows and their gradients travel (rows_a2a). bf16 halves the bytes: a weight is read "
                 "with a relative error up to 2^-9, the owner's copy stays exact; each rank's gradient of a row is "
                 "rounded once, their sum is in fp32.",
         .choices = formats});
    v.Field(
        "dense_gradients", dense_gradients,
        {.text = "Format in which gradients of the dense net travel. bf16 halves the bytes: each rank's gradient is "
                 "rounded once, their sum, which is in fp32, once more: error up to 2^-9 of the sum of the ranks' "
                 "magnitudes, plus 2^-9 of the sum.",
         .choices = formats});
    v.Field(
        "dense", dense,
        {.text =
             "Presets ps-*: format in which parameters of the dense net travel to the workers. bf16 halves the bytes: "
             "workers compute with parameters rounded by up to 2^-9, the servers' copy stays exact.",
         .choices = formats});
    v.Field("packed", packed,
            {.text = "Presets ps-*: parameters of the dense net and their gradients that travel in fp32 are packed to "
                     "about 7/8 of their bytes, without loss. For links that are slower than memory.",
             .performance_only = true});
  }
};

// How the ranks of a run share its work. One process alone reads none of it.
struct StrategyConfig {
  std::string preset = "none";
  std::string placement = "auto";
  std::vector<std::pair<std::string, FieldPlacementConfig>> fields;
  std::string input = "auto";
  PlannerConfig planner;
  std::string first_layer = "auto";
  DenseConfig dense;
  WireConfig wire;
  double timeout_s = 30;
  std::vector<std::string> servers;
  int64_t workers = 1;
  int64_t staleness = 4;
  int64_t worker = 0;
  int64_t pull_ahead = 1;

  template <class V>
  void Visit(V& v) {
    v.Field(
        "preset", preset,
        {.text = "A published system: des sets placement des with the dense net replicated (docs/algorithms/des.md); "
                 "ps-async, ps-ssp and ps-sync train through parameter servers: without waiting, with staleness "
                 "bounded by `staleness`, or with one step per clock from the gradients of all workers "
                 "(docs/algorithms/parameter-service.md).",
         .choices = {"none", "des", "ps-async", "ps-ssp", "ps-sync"}});
    v.Field(
        "placement", placement,
        {.text = "How keys and samples meet: des, partial results all-reduced; des_rs, partial results "
                 "reduce-scattered; rows_a2a, unique rows pulled and their gradients pushed; field_a2a, whole "
                 "vocabularies at one rank each and pooled fields sent to the ranks with the samples; local, one "
                 "process; auto, a planner chooses for every vocabulary, by bytes or by time (sluice plan explains).",
         .choices = {"auto", "des", "des_rs", "rows_a2a", "field_a2a", "local"}});
    v.Map("fields", fields, {.text = "Placements of single fields or ranges of them, in place of `placement`."});
    v.Field(
        "input", input,
        {.text = "Who reads: replicated, every rank all data, dropping what others own, and no key travels; sharded, "
                 "every rank its own samples, and keys travel to the owners of their rows; auto, sharded where the "
                 "placements need no key of other ranks' samples, else replicated.",
         .choices = {"auto", "replicated", "sharded"}});
    v.Struct("planner", planner, {.text = "What placement auto goes by."});
    v.Field(
        "first_layer", first_layer,
        {.text = "What travels where embeddings meet nothing but first layers (des, des_rs, field_a2a): pooled, the "
                 "pooled embeddings; by_hash, their products with the layers' weights, whose gradients are summed over "
                 "ranks; by_rows, the same with each field, and its rows of the weights, whole at one rank (field_a2a; "
                 "des gives every field a home); auto, what sends fewer bytes with the placements that there are.",
         .choices = {"auto", "pooled", "by_rows", "by_hash"}});
    v.Struct("dense", dense, {.text = "The dense net."});
    v.Struct("wire", wire, {.text = "Number formats of messages; sums are in fp32 either way."});
    v.Field("timeout_s", timeout_s,
            {.text = "A rank that does not answer for so long is lost; the others then leave with exit code 4.",
             .unit = "seconds",
             .min = 0.1,
             .performance_only = true});
    v.Field(
        "servers", servers,
        {.text = "Presets ps-*: addresses of the parameter servers, host:port, in the order of their shards. The first "
                 "one also lends the input and writes checkpoints with the others.",
         .performance_only = true});
    v.Field(
        "workers", workers,
        {.text =
             "Presets ps-*: workers that the run is meant for. Servers of ps-ssp and ps-sync wait for so many before "
             "the first batch; ps-sync divides every joined batch of workers * train.batch_size samples among them.",
         .min = 1,
         .max = 4096});
    v.Field("worker", worker,
            {.text = "Presets ps-*: number of this worker, from 0. Worker 0 evaluates at the end and asks for the last "
                     "checkpoint; ps-sync adds gradients up in the order of these numbers.",
             .min = 0,
             .max = 4095,
             .performance_only = true});
    v.Field(
        "pull_ahead", pull_ahead,
        {.text =
             "Presets ps-*: rows of a batch are pulled while so many batches before it are not pushed yet, beside the "
             "one before; of so many of its own steps a worker may know nothing (not with ps-sync, where servers "
             "hold the answer back). 0: after the push of the batch before.",
         .unit = "batches",
         .min = 0,
         .max = 4});
    v.Field("staleness", staleness,
            {.text = "Preset ps-ssp: batches by which a worker may be ahead of the slowest one.",
             .unit = "batches",
             .min = 1,
             .max = 1000});
  }
};

}  // namespace sluice::placement
