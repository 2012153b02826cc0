#!/usr/bin/env python3
"""Vowpal Wabbit on a Criteo-format text file: one pass of logistic regression, beside benchmarks/system/l.yaml.

The file is converted to its text format first, which is not timed; integers become the same buckets as there. Prints one JSON object. Needs vowpalwabbit."""
import argparse
import json
import math
import os
import tempfile
import time

import vowpalwabbit


def bucket(x):
    return int(math.log(x) ** 2) if x > 2 else x


def convert(source, target):
    lines = 0
    with open(source) as src, open(target, "w", buffering=1 << 22) as dst:
        for line in src:
            columns = line.rstrip("\n").split("\t")
            integers = " ".join(f"I{j}={bucket(int(value))}" for j, value in enumerate(columns[1:14]) if value)
            categories = " ".join(f"C{j}={value}" for j, value in enumerate(columns[14:40]) if value)
            dst.write(f"{'1' if columns[0] == '1' else '-1'} |i {integers} |c {categories}\n")
            lines += 1
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--options", default="--adaptive -l 0.05")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        converted = os.path.join(scratch, "data.vw")
        samples = convert(args.file, converted)
        start = time.perf_counter()
        workspace = vowpalwabbit.Workspace(
            f"-b 24 --loss_function logistic {args.options} -d {converted} --quiet")
        loss = workspace.get_sum_loss() / max(workspace.get_weighted_examples(), 1)
        workspace.finish()
        seconds = time.perf_counter() - start
    print(json.dumps({"peer": f"vowpal wabbit {vowpalwabbit.__version__} {args.options}", "workload": "l",
                      "samples": samples, "samples_per_s": round(samples / seconds, 1),
                      "progressive_logloss": round(loss, 5)}))


if __name__ == "__main__":
    main()
