#!/usr/bin/env python3
"""Workload P: ours beside TensorFlow's and PaddlePaddle's parameter servers, in turn, in one network namespace, on the same
lines. Needs root (for the namespace) and the peers' Python environments.

  sluice synth --output p.tsv --samples 1200000 --rows 1000000 --skew 4 --seed 5
  TF/bin/python benchmarks/peers/criteo_shards.py p.tsv shards --text
  benchmarks/system/p_peers.py p.tsv shards --tensorflow TF/bin/python --paddle PD/bin/python --rounds 3

  benchmarks/system/p_peers.py p.tsv - --in-process --model deepfm     ours through a server, beside ours in one process

Ours reads the text; theirs reads shards, whose making is not in their time. Bytes are those that the kernel counted on the
loopback interface of the namespace, headers included; core time is the processes' own. Prints a line of JSON per run and a
table of medians."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NAMESPACE = "sluice-p"


def in_namespace(command):
    return ["ip", "netns", "exec", NAMESPACE] + command


def lo_bytes():
    text = subprocess.run(in_namespace(["cat", "/proc/net/dev"]), capture_output=True, text=True, check=True).stdout
    return next(int(line.split()[9]) for line in text.splitlines() if line.strip().startswith("lo:"))


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(child) for child in children.read().split()]


def cpu_and_role(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        with open(f"/proc/{pid}/cmdline") as cmdline:
            role = "server" if "serve-params" in cmdline.read().split("\0") else "worker"
        return role, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return None


def run_ours(args, settings):
    """Launches servers and workers; a watcher reads the processes' times until the workers have ended."""
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        command = [args.sluice, "launch", os.path.join(HERE, "p.yaml"), "--servers", "1", "--workers", str(args.workers),
                   "--run-dir", run, "--quiet", "--set", f"data.train=[{args.file}]", "--set",
                   f"train.batch_size={args.batch}", "--set", f"model.preset={args.model}"]
        for setting in settings:
            command += ["--set", setting]
        before = lo_bytes()
        child = subprocess.Popen(in_namespace(command), stdout=subprocess.DEVNULL)
        cpu = {}
        while child.poll() is None:
            for pid in children_of(child.pid):
                seen = cpu_and_role(pid)
                # One that has ended has no command line any more, and shows nothing once it was waited for.
                if seen and (pid not in cpu or seen[1] >= cpu[pid][1]):
                    cpu[pid] = (max(seen[0], cpu.get(pid, seen)[0], key=("worker", "server").index), seen[1])
            time.sleep(0.05)
        if child.returncode != 0:
            raise SystemExit(f"sluice launch left with code {child.returncode}")
        sent = lo_bytes() - before
        reports = [json.load(open(os.path.join(run, f"worker-{w}", "metrics.json"))) for w in range(args.workers)]
    samples = sum(report["samples"] for report in reports)
    seconds = max(report["train_s"] for report in reports)
    payload = {}
    for report in reports:
        for kind, value in report["bytes_per_sample"].items():
            payload[kind] = payload.get(kind, 0) + value * report["samples"] / samples
    trained = samples * (payload["sent"] + payload["received"])
    evaluated = sum(report["evaluation_bytes"] for report in reports)
    server = sum(seconds_of for role, seconds_of in cpu.values() if role == "server")
    return {"peer": "ours" + "".join(" " + s.split(".")[-1] for s in settings), "workload": "p", "model": args.model,
            "workers": args.workers, "samples": samples, "samples_per_s": round(samples / seconds, 1),
            # The peers evaluate after their bytes are read; of ours the evaluation's share of the payload is taken off.
            "bytes_per_sample": round(sent * trained / (trained + evaluated) / samples, 1),
            "bytes_with_evaluation": round(sent / samples, 1),
            "payload_per_sample": {kind: round(value, 1) for kind, value in payload.items()},
            "server_core_us_per_sample": round(1e6 * server / samples, 2),
            "loss": round(reports[0]["train_loss"], 5), "auc": reports[0].get("auc"), "logloss": reports[0].get("logloss"),
            "staleness_mean": round(reports[0]["staleness_mean"], 2)}


def run_in_process(args):
    """The same model, file and batch in one process with as many threads as there are workers."""
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        command = [args.sluice, "train", os.path.join(HERE, "p.yaml"), "--run-dir", run, "--quiet"]
        for setting in (f"data.train=[{args.file}]", f"train.batch_size={args.batch}", f"model.preset={args.model}",
                        "strategy.preset=none", f"threads={args.workers}"):
            command += ["--set", setting]
        done = subprocess.run(in_namespace(command), stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            raise SystemExit(f"sluice train left with code {done.returncode}")
        report = json.load(open(os.path.join(run, "metrics.json")))
    return {"peer": "ours in one process", "workload": "p", "model": args.model, "workers": 0,
            "samples": report["samples"], "samples_per_s": round(report["samples_per_s"], 1), "bytes_per_sample": 0,
            "server_core_us_per_sample": 0, "loss": report.get("train_loss", 0), "auc": report.get("auc"), "logloss": report.get("logloss")}


def run_peer(python, script, args):
    command = [python, os.path.join(HERE, "..", "peers", script), args.shards, "--workers", str(args.workers)]
    done = subprocess.run(in_namespace(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{script} left with code {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="Criteo-format text, the last tenth of which is held out")
    parser.add_argument("shards", help="what criteo_shards.py made of it")
    parser.add_argument("--sluice", default=os.path.join(HERE, "..", "..", "build", "sluice"))
    parser.add_argument("--tensorflow", help="a Python with TensorFlow")
    parser.add_argument("--paddle", help="a Python with PaddlePaddle")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--model", default="wide_deep", help="preset of ours")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of ours")
    parser.add_argument("--in-process", action="store_true", help="ours also in one process, for the workers' efficiency")
    parser.add_argument("--bf16", action="store_true", help="ours also with bf16 on the wire and in products")
    args = parser.parse_args()
    args.file, args.shards, args.sluice = (os.path.abspath(path) for path in (args.file, args.shards, args.sluice))
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
        runs = [lambda: run_ours(args, args.set)]
        if args.in_process:
            runs.append(lambda: run_in_process(args))
        if args.bf16:
            wire = [f"strategy.wire.{kind}=bf16" for kind in ("rows", "dense", "dense_gradients")]
            runs.append(lambda: run_ours(args, args.set + wire))
            runs.append(lambda: run_ours(args, args.set + ["precision=bf16"] + wire))
        if args.tensorflow:
            runs.append(lambda: run_peer(args.tensorflow, "tf_ps.py", args))
        if args.paddle:
            runs.append(lambda: run_peer(args.paddle, "paddle_ps.py", args))
        results = {}
        for _ in range(args.rounds):
            for run in runs:
                result = run()
                results.setdefault(result["peer"], []).append(result)
                print(json.dumps(result), flush=True)
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)
    print(f"\n{'':40} {'samples/s':>12} {'bytes/sample':>13} {'server us/sample':>17} {'loss':>10}")
    for peer, found in results.items():
        middle = {key: statistics.median(r[key] for r in found)
                  for key in ("samples_per_s", "bytes_per_sample", "server_core_us_per_sample")}
        print(f"{peer[:40]:40} {middle['samples_per_s']:12.0f} {middle['bytes_per_sample']:13.0f} "
              f"{middle['server_core_us_per_sample']:17.2f} {str(found[-1]['loss'])[:10]:>10}")
    for peer in results:  # of neighbours in time
        ratios = [a["samples_per_s"] / b["samples_per_s"] for a, b in zip(next(iter(results.values())), results[peer])]
        print(f"ours over {peer}: median {statistics.median(ratios):.2f} of " + ", ".join(f"{r:.2f}" for r in ratios))


if __name__ == "__main__":
    sys.exit(main())
