"""Two ranks on one machine beside one process with two threads, in turn: rates, and the cost of every part of a step.

    python3 benchmarks/system/scaling.py --sluice build/sluice --config benchmarks/system/k.yaml --json scaling.json

Ranks are threads of one process ("threads"), and processes that mpirun starts, each with a processor of its own ("processes",
over shared memory); each has one thread.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--mca", "btl", "self,vader",
          "--mca", "btl_base_warn_component_unused", "0", "-n", "2", "sh", "-c", 'exec taskset -c "$OMPI_COMM_WORLD_RANK" "$@"', "sh"]


def variants(placements):
    yield "one process, 2 threads", [], ["--set", "threads=2"]
    for placement in placements:
        setting = ["--set", f"strategy.placement={placement}"]
        yield f"2 ranks, threads, {placement}", [], ["--ranks", "2", "--set", "threads=2"] + setting
        yield f"2 ranks, processes, {placement}", MPIRUN, ["--set", "threads=1"] + setting


def run(arguments, folder, launcher, options):
    report = os.path.join(folder, "report.json")
    command = launcher + [arguments.sluice, "bench", arguments.config, "-q", "--json", report, "--set", "bench.roofline=false",
                          "--set", "bench.rounds=1", "--set", f"bench.seconds={arguments.seconds}"]
    for setting in arguments.set:
        command += ["--set", setting]
    done = subprocess.run(command + options, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command + options)}: {done.stderr.strip()}")
    with open(report, encoding="utf-8") as file:
        return json.load(file)


def markdown(measured):
    names = list(measured)
    parts = []
    for reports in measured.values():
        parts += [part for part in reports[0]["time_by_part_s"] if part not in parts]
    base = statistics.median(r["samples_per_s"] for r in measured[names[0]])
    text = "| | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|\n"

    def row(title, cell):
        return f"| {title} | " + " | ".join(cell(measured[name]) for name in names) + " |\n"
    rates = {name: statistics.median(r["samples_per_s"] for r in measured[name]) for name in names}
    text += "| samples/s | " + " | ".join(f"{rates[name]:.0f}" for name in names) + " |\n"
    text += "| of one process | " + " | ".join(f"{rates[name] / base:.3f}" for name in names) + " |\n"
    text += row("fastest-slowest", lambda rs: f"{min(r['samples_per_s'] for r in rs):.0f}-{max(r['samples_per_s'] for r in rs):.0f}")
    text += row("cores busy", lambda rs: f"{statistics.median(r['cpu_use'] for r in rs):.2f}")
    for part in parts:
        text += row(f"{part}, ms a step", lambda rs, part=part: "" if part not in rs[0]["time_by_part_s"] else
                    f"{1e3 * statistics.median(r['time_by_part_s'][part] for r in rs):.2f}")
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sluice", default="build/sluice")
    parser.add_argument("--config", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "k.yaml"))
    parser.add_argument("--placements", default="rows_a2a,des_rs")
    parser.add_argument("--set", action="append", default=[], help="settings of all runs")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="timed in each run")
    parser.add_argument("--json", help="all reports")
    arguments = parser.parse_args()
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.runs):
            for name, launcher, options in variants(arguments.placements.split(",")):
                measured.setdefault(name, []).append(run(arguments, folder, launcher, options))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(measured, file, indent=1)
    print(markdown(measured))


if __name__ == "__main__":
    main()
