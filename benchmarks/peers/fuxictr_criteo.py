#!/usr/bin/env python3
"""FuxiCTR on a Criteo-format text file, from raw lines to a test AUC, beside benchmarks/system/d.yaml and l.yaml.

All 39 columns are categorical: integers as floor(log(x)^2) above 2, categories seen fewer than 10 times are one. The last
part of the file is the test set. Its own preprocessing, loader, training loop and evaluation run; only the first step,
tabs to commas with a header, is done here, which is timed as well. Prints one JSON object. Needs fuxictr 2.3.10 with torch
and ray, polars below 2, and the `model_zoo` folder of its repository, whose models the package does not contain.

Its Adam moves every row of a table in every step; ours moves the rows of the batch."""
import argparse
import importlib
import json
import logging
import os
import resource
import sys
import tempfile
import time
import warnings

import numpy as np
import polars as pl
import ray
import torch
from fuxictr.features import FeatureMap
from fuxictr.preprocess import FeatureProcessor, build_dataset
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.torch_utils import seed_everything

MODELS = {"deepfm": ("DeepFM/DeepFM_torch", "DeepFM"), "dcnv2": ("DCNv2", "DCNv2"), "lr": ("LR", "LR")}
INTEGERS = [f"I{i}" for i in range(1, 14)]
CATEGORIES = [f"C{i}" for i in range(1, 27)]


class Features(FeatureProcessor):
    def bucket(self, column):
        x = pl.col(column).cast(pl.Int64, strict=False)
        log = pl.when(x > 2).then(x).otherwise(3).cast(pl.Float64).log()
        value = pl.when(x > 2).then((log * log).floor().cast(pl.Int64)).otherwise(x)
        return value.cast(pl.String).fill_null("")


def to_csv(source, folder, test_fraction):
    """Writes train.csv and test.csv; returns the numbers of samples."""
    with open(source, "rb") as src:
        lines = sum(block.count(b"\n") for block in iter(lambda: src.read(1 << 24), b""))
    counts = [lines - round(lines * test_fraction), round(lines * test_fraction)]
    header = (",".join(["label"] + INTEGERS + CATEGORIES) + "\n").encode()
    with open(source, "rb") as src:
        for name, count in zip(("train", "test"), counts):
            with open(os.path.join(folder, name + ".csv"), "wb", buffering=1 << 22) as dst:
                dst.write(header)
                for _ in range(count):
                    dst.write(src.readline().replace(b"\t", b","))
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--zoo", required=True, help="folder model_zoo of FuxiCTR's repository")
    parser.add_argument("--model", choices=MODELS, default="deepfm")
    parser.add_argument("--test-fraction", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--format", choices=["npz", "parquet"], default="npz", help="what the training loop reads")
    parser.add_argument("--batch", type=int, default=4096)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    folder, class_name = MODELS[args.model]
    sys.path.insert(0, os.path.join(os.path.abspath(args.zoo), folder))
    model_class = getattr(importlib.import_module("src"), class_name)
    seed_everything(args.seed)

    with tempfile.TemporaryDirectory() as scratch:
        begin = time.perf_counter()
        samples, test_samples = to_csv(args.file, scratch, args.test_fraction)
        columns = [{"name": name, "active": True, "dtype": "str", "type": "categorical", "fill_na": "",
                    "preprocess": f"bucket({name})"} for name in INTEGERS]
        columns += [{"name": name, "active": True, "dtype": "str", "type": "categorical", "fill_na": ""}
                    for name in CATEGORIES]
        params = {
            "data_root": scratch, "dataset_id": "criteo", "model_root": scratch, "model_id": args.model, "gpu": -1,
            "feature_cols": columns, "label_col": {"name": "label", "dtype": "float"}, "data_format": "csv",
            "min_categr_count": 10, "train_data": os.path.join(scratch, "train.csv"),
            "valid_data": os.path.join(scratch, "test.csv"), "test_data": None, "batch_size": args.batch,
            "num_workers": 0, "shuffle": True, "verbose": 0, "epochs": 1, "optimizer": "adam", "learning_rate": 1e-3,
            "loss": "binary_crossentropy", "metrics": ["AUC", "logloss"], "monitor": "AUC", "embedding_dim": 16,
            "hidden_units": [400, 400, 400], "model_structure": "parallel", "num_cross_layers": 3,
            "parallel_dnn_hidden_units": [400, 400, 400], "feature_specs": None}
        params["train_data"], params["valid_data"], _ = build_dataset(Features(**params), **params)
        ray.shutdown()
        if args.format == "npz":
            for name in ("train_data", "valid_data"):
                columns = pl.read_parquet(params[name]).to_dict()
                params[name] = params[name].replace(".parquet", ".npz")
                np.savez(params[name], **{key: column.to_numpy() for key, column in columns.items()})
                del columns
            params["data_format"] = "npz"
        prepared = time.perf_counter()

        feature_map = FeatureMap("criteo", os.path.join(scratch, "criteo"))
        feature_map.load(os.path.join(scratch, "criteo", "feature_map.json"), params)
        model = model_class(feature_map, **params)
        train, test = RankDataLoader(feature_map, stage="train", **params)
        loaded = time.perf_counter()
        trained = []
        evaluate_at_end = model.eval_step

        def eval_step():
            trained.append(time.perf_counter())
            evaluate_at_end()

        results = {}
        evaluate_metrics = model.evaluate_metrics

        def keep_metrics(y_true, y_pred, metrics, group_id=None):
            results.update(evaluate_metrics(y_true, y_pred, ["AUC", "logloss"], group_id))
            return results

        model.eval_step = eval_step
        model.evaluate_metrics = keep_metrics
        model.fit(train, validation_data=test, **params)   # one epoch, then the test set
        end = time.perf_counter()
    print(json.dumps({
        "peer": f"fuxictr 2.3.10, torch {torch.__version__}, {args.model}", "workload": "d", "samples": samples,
        "test_samples": test_samples, "samples_per_s": round(samples / (trained[0] - loaded), 1),
        "raw_to_auc_s": round(end - begin, 2), "preprocess_s": round(prepared - begin, 2),
        "fit_s": round(trained[0] - loaded, 2), "evaluate_s": round(end - trained[0], 2),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "auc": round(float(results["AUC"]), 5), "logloss": round(float(results["logloss"]), 5), "seed": args.seed}))


if __name__ == "__main__":
    main()
