#!/usr/bin/env python3
"""Runs benchmarks/system/*.yaml beside the peers that are installed, and prints a table.

A round runs the workload, then each peer, with the workload again after it, so that what the machine does meanwhile touches all
alike. A ratio is the mean of our two runs around a peer's over the peer's; rounds give its median. Peers run under
SLUICE_PEERS_PYTHON, else .venv-peers (`make bench-peers`), where they can be imported. Writes results.json and chart.svg.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLUICE = os.environ.get("SLUICE_BIN", str(ROOT / "build" / "sluice"))
PEERS_PYTHON = os.environ.get("SLUICE_PEERS_PYTHON", str(ROOT / ".venv-peers" / "bin" / "python"))
WORKLOADS = ("k", "m", "d", "l", "h")


def installed(module):
    try:
        return subprocess.run([PEERS_PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0
    except OSError:
        return False


def peer_commands(workload, precision, seconds):
    """[command] of the peers that can run this."""
    if workload not in ("k", "m") or not installed("torch"):
        return []
    variants = ["eager"] + (["tuned"] if workload == "k" and installed("fbgemm_gpu") else [])
    script = str(ROOT / "benchmarks" / "peers" / "torch_dlrm.py")
    return [[PEERS_PYTHON, script, "--shape", workload, "--variant", f"{v}-{precision}", "--seconds", str(seconds)]
            for v in variants]


def run_ours(options, workload, precision, roofline, sets=()):
    file = options.out / f"{workload}-{precision}.json"
    sets = [f"precision={precision}", f"bench.seconds={options.seconds}", "bench.rounds=3",
            f"bench.roofline={str(roofline).lower()}", *sets, *options.set]
    command = [SLUICE, "bench", str(ROOT / "benchmarks" / "system" / f"{workload}.yaml"), "--json", str(file)]
    subprocess.run(command + [part for s in sets for part in ("--set", s)], check=True, stdout=subprocess.DEVNULL)
    return json.loads(file.read_text())


def run_peer(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"peer failed: {' '.join(command)}\n{done.stderr[-500:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def print_scaling(options, workload):
    """Two threads against one, in turn, beside what products alone gain."""
    ratios, products = [], []
    for _ in range(options.rounds):
        one, two = (run_ours(options, workload, "fp32", True, [f"threads={n}"]) for n in (1, 2))
        ratios.append(two["samples_per_s"] / one["samples_per_s"])
        if one["machine"]["gemm_gflops"] > 0:   # logistic regression has none
            products.append(two["machine"]["gemm_gflops"] / one["machine"]["gemm_gflops"])
    ratio = statistics.median(ratios)
    line = f"{workload.upper():<4}two threads {ratio:.2f}x one ({min(ratios):.2f}-{max(ratios):.2f})"
    if products:
        product = statistics.median(products)
        line += f"; products {product:.2f}x ({min(products):.2f}-{max(products):.2f}); of theirs {ratio / product:.2f}"
    print(line, flush=True)


def measure(options, workload, precision):
    """Rounds, each of which begins with a run that measures the roofline too; a peer that fails once is left out from then on."""
    result = {"workload": workload, "precision": precision, "ours": [], "peers": {}}
    commands = peer_commands(workload, precision, options.seconds * 3)
    for _ in range(options.rounds):
        before = run_ours(options, workload, precision, True)
        result["ours"].append(before)
        for command in list(commands):
            peer = run_peer(command)
            if peer is None:
                commands.remove(command)
                continue
            after = run_ours(options, workload, precision, False)
            result["ours"].append(after)
            entry = result["peers"].setdefault(peer["peer"], {"samples_per_s": [], "ratios": []})
            entry["samples_per_s"].append(peer["samples_per_s"])
            entry["ratios"].append((before["samples_per_s"] + after["samples_per_s"]) / 2 / peer["samples_per_s"])
            before = after
    return result


def summary(result):
    rates = [run["samples_per_s"] for run in result["ours"]]
    median = statistics.median(rates)
    of = result["ours"][0]
    shares = [run["roofline_share"] for run in result["ours"] if run["roofline_share"] > 0]
    return {"workload": result["workload"].upper(), "precision": result["precision"], "samples_per_s": median,
            "spread": (min(rates), max(rates)), "runs": len(rates),
            "roofline_share": statistics.median(shares), "roofline_spread": (min(shares), max(shares)),
            "samples_per_s_per_core": median / of["threads"],
            "cpu_use": statistics.median(run["cpu_use"] for run in result["ours"]), "bytes_per_row": of["bytes_per_row"],
            "ratios": {name: (statistics.median(peer["ratios"]), min(peer["ratios"]), max(peer["ratios"]))
                       for name, peer in result["peers"].items()}}


def print_row(row):
    peers = "; ".join(f"{ratio:.2f}x ({low:.2f}-{high:.2f}) {name}" for name, (ratio, low, high) in row["ratios"].items())
    spread = f"{row['spread'][0]:,.0f}-{row['spread'][1]:,.0f}"
    print(f"{row['workload']:<4}{row['precision']:<6}{row['samples_per_s']:>11,.0f}{spread:>20}{row['runs']:>5}"
          f"{row['roofline_share']:>5.0%} {row['roofline_spread'][0]:.0%}-{row['roofline_spread'][1]:.0%}"
          f"{row['samples_per_s_per_core']:>11,.0f}{row['cpu_use']:>6.2f}"
          f"{row['bytes_per_row']:>7.0f}  {peers or '-'}", flush=True)


def write_chart(results, rows, path):
    """Samples per second as horizontal bars, ours and the peers' beside each other, each workload on a scale of its own."""
    bars = []
    for result, row in zip(results, rows):
        label = f"{row['workload']} {row['precision']}"
        group = [(f"{label} sluice", row["samples_per_s"], "#1f6feb")]
        group += [(f"{label} {name}", statistics.median(peer["samples_per_s"]), "#999999")
                  for name, peer in result["peers"].items()]
        top = max(value for _, value, _ in group)
        bars += [(name, value, value / top, colour) for name, value, colour in group]
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{len(bars) * 24 + 10}" '
             'font-family="sans-serif" font-size="12">']
    for i, (name, value, share, colour) in enumerate(bars):
        y = 8 + 24 * i
        lines.append(f'<text x="4" y="{y + 13}">{name}</text><rect x="300" y="{y}" width="{440 * share:.0f}" height="18" '
                     f'fill="{colour}"/><text x="{306 + 440 * share:.0f}" y="{y + 13}">{value:,.0f}/s</text>')
    path.write_text("\n".join(lines) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="of k m d l h; all where none is named")
    parser.add_argument("--rounds", type=int, default=5, help="alternations with every peer (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each timed stretch (default 2)")
    parser.add_argument("--precision", action="append", choices=["fp32", "bf16"], help="default: both")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of every run")
    parser.add_argument("--scaling", action="store_true", help="instead: two threads against one")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "out" / "bench")
    options = parser.parse_args()
    workloads = [name.lower() for name in options.workloads] or list(WORKLOADS)
    for name in workloads:
        if name not in WORKLOADS:
            parser.error(f"no workload {name}; there are {', '.join(WORKLOADS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.scaling:
        for workload in workloads:
            print_scaling(options, workload)
        return
    print(f"{'':<10}{'samples/s':>11}{'spread':>20}{'runs':>5}{'roof':>13}{'a core':>11}{'cores':>6}{'B/row':>7}  against")
    results, rows = [], []
    for workload in workloads:
        for precision in options.precision or ("fp32", "bf16"):
            if workload == "l" and precision == "bf16":   # no products
                continue
            results.append(measure(options, workload, precision))
            rows.append(summary(results[-1]))
            print_row(rows[-1])
    (options.out / "results.json").write_text(json.dumps({"rows": rows, "runs": results}, indent=1) + "\n")
    write_chart(results, rows, options.out / "chart.svg")
    print(f"{options.out / 'results.json'}, {options.out / 'chart.svg'}")


if __name__ == "__main__":
    main()
