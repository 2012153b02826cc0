#!/usr/bin/env python3
"""Raw Criteo lines to a model and its metrics: `sluice train` and the peers that are installed, in turn on the same lines.

Workloads: l (logistic regression, one pass, against Vowpal Wabbit), deepfm, dcnv2 and lr (from raw lines to a test AUC, against
FuxiCTR). Every round runs ours, the peer, and ours again with that round's seed; ratios are of the mean of ours around a peer's run,
and the table gives their median and range. Peers run under SLUICE_PEERS_PYTHON, else .venv-peers; FuxiCTR needs `model_zoo` of its
repository in SLUICE_FUXICTR_ZOO. Writes text.json.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from bench import PEERS_PYTHON, ROOT, SLUICE, installed

PEERS = ROOT / "benchmarks" / "peers"
WORKLOADS = ("l", "deepfm", "dcnv2", "lr")


def run_ours(options, workload, seed):
    """What metrics.json of one training run says."""
    config = "l" if workload in ("l", "lr") else "d"
    sets = [f"data.train={options.data}", f"seed={seed}", f"threads={options.threads}", "checkpoint.at_end=false"]
    if workload == "l":
        sets.append("train.progressive.window=1000000000")
    else:
        sets += [f"model.preset={workload}", "data.split.kind=tail", "data.split.fraction=0.1"]
    if workload == "lr":   # Adam as the peer has it
        sets += ["optimizer={name: adam, learning_rate: 0.001}", "tables.default.optimizer={name: adam, learning_rate: 0.001}"]
    folder = tempfile.mkdtemp(prefix="sluice-bench-")
    try:
        command = [SLUICE, "train", str(ROOT / "benchmarks" / "system" / f"{config}.yaml"), "--run-dir", folder, "--quiet"]
        subprocess.run(command + [part for s in sets + options.set for part in ("--set", s)], check=True, stdout=subprocess.DEVNULL)
        metrics = json.loads((pathlib.Path(folder) / "metrics.json").read_text())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return metrics


def peer_command(options, workload, seed):
    if workload == "l":
        return [PEERS_PYTHON, str(PEERS / "vowpal.py"), options.data] if installed("vowpalwabbit") else None
    zoo = os.environ.get("SLUICE_FUXICTR_ZOO")
    if zoo is None or not installed("fuxictr"):
        return None
    return [PEERS_PYTHON, str(PEERS / "fuxictr_criteo.py"), options.data, "--zoo", zoo, "--model", workload, "--seed", str(seed),
            "--threads", str(options.threads)]


def measure(options, workload):
    rounds = []
    for seed in range(1, options.rounds + 1):
        entry = {"seed": seed, "ours": [run_ours(options, workload, seed)], "peer": None}
        command = peer_command(options, workload, seed)
        if command is not None:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                entry["peer"] = json.loads(done.stdout.strip().splitlines()[-1])
                entry["ours"].append(run_ours(options, workload, seed))
            else:
                print(f"peer failed: {' '.join(command)}\n{done.stderr[-500:]}", file=sys.stderr)
        rounds.append(entry)
    return rounds


def spread(values, digits):
    if not values:
        return "-"
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def print_rows(workload, rounds):
    """One line a quantity: ours, the peer's, and the ratio within a round."""
    progressive = workload == "l"
    names = {"samples/s": ("samples_per_s", "samples_per_s", 0, 1), "peak MiB": ("peak_rss_bytes", "peak_rss_mib", 0, 2.0 ** -20)}
    if progressive:
        names["log loss"] = ("progressive_logloss", "progressive_logloss", 4, 1)
    else:
        names |= {"raw to AUC s": ("wall_s", "raw_to_auc_s", 2, 1), "AUC": ("auc", "auc", 4, 1)}
    for name, (ours_key, peer_key, digits, scale) in names.items():
        ours = [run[ours_key] * scale for entry in rounds for run in entry["ours"]]
        peers = [entry["peer"][peer_key] for entry in rounds if entry["peer"] and peer_key in entry["peer"]]
        ratios = [statistics.mean(run[ours_key] * scale for run in entry["ours"]) / entry["peer"][peer_key]
                  for entry in rounds if entry["peer"] and peer_key in entry["peer"]]
        print(f"{workload:<8}{name:<14}{spread(ours, digits):>36}{spread(peers, digits):>36}{spread(ratios, 3):>24}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="of l deepfm dcnv2 lr; all where none is named")
    parser.add_argument("--data", help="Criteo text; made by `sluice synth` where it is left out")
    parser.add_argument("--samples", type=int, default=400000, help="lines to make (default 400,000)")
    parser.add_argument("--rounds", type=int, default=3, help="seeds, each with every peer (default 3)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of our runs")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "out" / "bench")
    options = parser.parse_args()
    for name in options.workloads:
        if name not in WORKLOADS:
            parser.error(f"no workload {name}; there are {', '.join(WORKLOADS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.data is None:
        options.data = str(options.out / f"criteo-{options.samples}.tsv")
        if not os.path.exists(options.data):
            subprocess.run([SLUICE, "synth", "--output", options.data, "--samples", str(options.samples)], check=True,
                           stdout=subprocess.DEVNULL)
    print(f"{'':<22}{'sluice':>36}{'peer':>36}{'ratio':>24}")
    results = {}
    for workload in options.workloads or WORKLOADS:
        results[workload] = measure(options, workload)
        print_rows(workload, results[workload])
    (options.out / "text.json").write_text(json.dumps(results, indent=1) + "\n")
    print(options.out / "text.json")


if __name__ == "__main__":
    main()
