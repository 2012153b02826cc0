"""Step times of every placement on links of given bandwidths, and whether the planner finds the best.

A case is a model, keys per field and a bandwidth. Two ranks, each in a network namespace with a processor of its own, train
every placement and `auto` in turn, round by round, in the same processes; tests/dist/netns.py makes and shapes the links.
Four ranks are run for bytes alone: they would share processors.

    sudo python3 benchmarks/system/links.py --sluice build/sluice --json links.json --markdown links.md --svg links.svg

goes on where an earlier call with the same --json stopped, so that it may be cut into pieces: --budget SECONDS begins no case
after that time. --quick takes a few cases and two rounds. Needs root, iproute2 and mpirun.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tests", "dist"))
sys.path.insert(0, HERE)
import links_report  # noqa: E402
import netns  # noqa: E402

PLACEMENTS = ["des", "des_rs", "field_a2a", "rows_a2a"]
MODELS = {   # the model, its fields, keys per field
    "fm": ("{preset: fm, dim: 16}", 8, [1, 4, 16]),
    "fm of one field": ("{preset: fm, dim: 16}", 1, [16, 128]),
    "dlrm": ("{preset: dlrm, dim: 16, bottom_mlp: [], top_mlp: [64]}", 8, [1, 4, 16]),
}
LINKS_MBIT = [1000, 100, 10000, 300]
ROUNDS = 5
WORKLOAD = """
name: {name}
model: {model}
tables:
  default: {{optimizer: {{name: sgd, learning_rate: 0.01}}}}
optimizer: {{name: sgd, learning_rate: 0.01}}
train: {{batch_size: 512}}
threads: 1
strategy: {{planner: {{link: {mbit}Mbit, samples: 8192}}}}
bench: {{data: memory, dense: 0, fields: {fields}, rows_per_field: 20000, keys_per_field: {keys}, skew: 2, batches: 8,
        warmup_steps: 2, roofline: false, seconds: {seconds}, rounds: {rounds}}}
"""


def cases(quick):
    if quick:
        return [("fm", 4, 1000), ("dlrm", 1, 100), ("dlrm", 16, 1000)]
    return [(model, keys, mbit) for mbit in LINKS_MBIT for model in MODELS for keys in MODELS[model][2]]


def bench(net, sluice, folder, case, ranks, rounds, seconds, cores, placements):
    """Reports of each placement, the kernel's counters of each rank beside them."""
    model, keys, mbit = case
    config, report = os.path.join(folder, "config.yaml"), os.path.join(folder, "report.json")
    with open(config, "w", encoding="utf-8") as file:
        file.write(WORKLOAD.format(name=f"{model}-{keys}".replace(" ", "-"), model=MODELS[model][0], fields=MODELS[model][1],
                                   keys=keys, mbit=mbit or 1000, seconds=seconds, rounds=rounds))
    if os.path.exists(report):
        os.remove(report)
    command = [sluice, "bench", config, "-q", "--json", report, "--placements", ",".join(placements)]
    before = [net.counters(rank) for rank in range(ranks)]
    process = subprocess.run(net.mpirun(command, cores=cores), env=net.environment(), capture_output=True, text=True,
                             timeout=300, check=False)
    if process.returncode != 0:
        raise RuntimeError(f"{case}: {process.stderr.strip()}")
    after = [net.counters(rank) for rank in range(ranks)]
    with open(report, encoding="utf-8") as file:
        reports = json.load(file)
    resent = sum(a["tcp_retransmitted"] - b["tcp_retransmitted"] for a, b in zip(after, before))
    return reports, resent


def summary(report):
    """What of a report the tables and the fitted model need."""
    steps, batch = report["steps"], report["batch_size"]
    ranks = report["ranks"]
    times = sorted(batch / rate for rate in report["rounds"])
    keys = report["unique_rows_per_sample"] / max(report["unique_share"], 1e-9)
    by_kind = {}
    for rank in ranks:
        for kind, sent in rank["sent_bytes"].items():
            by_kind[kind] = by_kind.get(kind, 0) + sent / steps / batch
    return {
        "strategy": report["strategy"],
        "step_s": statistics.median(times),
        "fastest_s": times[0],
        "slowest_s": times[-1],
        "steps": steps,
        "cores_busy": report["cpu_use"],
        "bytes_per_sample": {kind: value for kind, value in by_kind.items() if value > 0},
        "sent_of_rank": max(sum(rank["sent_bytes"].values()) for rank in ranks) / steps,
        "messages_of_rank": max(rank["messages"] for rank in ranks) / steps,
        "keys_of_rank": keys * batch,
        "rows_of_rank": report["unique_rows_per_sample"] * batch,
        "dense_samples": batch if report["strategy"] == "des" else batch / len(ranks),
        "flops_per_sample": report["flops_per_sample"],
        "predicted_step_s": report.get("predicted_step_s", 0),
        "parts_s": report["time_by_part_s"],
    }


def key_of(case):
    return "/".join(map(str, case))


def load(path):
    if path and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    return {"timed": {}, "bytes_of_four": {}}


def save(path, results):
    if not path:
        return
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    os.replace(path + ".new", path)


def measure(arguments, results, folder):
    placements = PLACEMENTS + ["auto"]
    rounds, seconds = (2, 0.03) if arguments.quick else (ROUNDS, 0.03)
    end = time.monotonic() + arguments.budget
    if not arguments.bytes_only:
        with netns.Network(2) as net:
            for case in cases(arguments.quick):
                if key_of(case) in results["timed"] or time.monotonic() > end:
                    continue
                net.shape(case[2])
                reports, resent = bench(net, arguments.sluice, folder, case, 2, rounds, seconds, ["0", "1"], placements)
                results["timed"][key_of(case)] = {"case": case, "resent_segments": resent,
                                                  "of": {r["placement"]: summary(r) for r in reports}}
                save(arguments.json, results)
                print(links_report.line(results["timed"][key_of(case)]), flush=True)
    if arguments.timed_only:
        return
    with netns.Network(4) as net:
        for case in sorted({case[:2] + (0,) for case in cases(arguments.quick)}):
            if key_of(case) in results["bytes_of_four"] or time.monotonic() > end:
                continue
            reports, _ = bench(net, arguments.sluice, folder, case, 4, 1, 0.05, None, placements)
            results["bytes_of_four"][key_of(case)] = {"case": case, "of": {r["placement"]: summary(r) for r in reports}}
            save(arguments.json, results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sluice", default="build/sluice")
    parser.add_argument("--json", help="results: read where there, written after every case")
    parser.add_argument("--markdown", help="tables, written at the end")
    parser.add_argument("--svg", help="picture, written at the end")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--budget", type=float, default=1e9, help="seconds after which no case begins")
    parser.add_argument("--timed-only", action="store_true", help="two ranks alone")
    parser.add_argument("--bytes-only", action="store_true", help="four ranks alone")
    parser.add_argument("--report-only", action="store_true", help="measure nothing, write what is there")
    arguments = parser.parse_args()
    arguments.sluice = os.path.abspath(arguments.sluice)
    results = load(arguments.json)
    if not arguments.report_only:
        netns.skip_unless_possible()
        with tempfile.TemporaryDirectory() as folder:
            measure(arguments, results, folder)
    text = links_report.markdown(results)
    print(text)
    if arguments.markdown:
        with open(arguments.markdown, "w", encoding="utf-8") as file:
            file.write(text)
    if arguments.svg and results["timed"]:
        with open(arguments.svg, "w", encoding="utf-8") as file:
            file.write(links_report.svg(results))


if __name__ == "__main__":
    main()
