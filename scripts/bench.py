#!/usr/bin/env python3
"""bench.py [WORKLOAD]...: runs benchmarks/system/*.yaml in fp32 and bf16, and the peers that are installed, and prints a table.

Peers run under BENCH_PYTHON (default python3) where it can import them; each runs between two runs of ours, and the ratio is
ours (mean of the two medians) over the peer's. Writes out/bench/results.json and out/bench/chart.svg.
"""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "bench"
SLUICE = os.environ.get("SLUICE_BIN", str(ROOT / "build" / "sluice"))
PEER_PYTHON = os.environ.get("BENCH_PYTHON", "python3")
PRECISIONS = ("fp32", "bf16")


def installed(module):
    return subprocess.run([PEER_PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0


def torch_peer(workload, precision):
    variants = ["eager"] + (["tuned"] if installed("fbgemm_gpu") else [])
    script = str(ROOT / "benchmarks" / "peers" / "torch_dlrm.py")
    return [[PEER_PYTHON, script, "--shape", workload, "--variant", f"{v}-{precision}"] for v in variants]


def run_ours(workload, precision):
    file = OUT / f"{workload}-{precision}.json"
    subprocess.run([SLUICE, "bench", str(ROOT / "benchmarks" / "system" / f"{workload}.yaml"), "--quiet", "--json", str(file),
                    "--set", f"precision={precision}"], check=True, stdout=subprocess.DEVNULL)
    return json.loads(file.read_text())


def run_peer(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"peer failed: {' '.join(command)}\n{done.stderr[-500:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(workload, precision, peers):
    result = {"workload": workload, "precision": precision, "ours": [run_ours(workload, precision)], "peers": []}
    for command in peers:
        peer = run_peer(command)
        if peer is None:
            continue
        result["ours"].append(run_ours(workload, precision))
        around = [run["samples_per_s"] for run in result["ours"][-2:]]
        peer["ratio"] = sum(around) / len(around) / peer["samples_per_s"]
        result["peers"].append(peer)
    return result


def print_row(result):
    last = result["ours"][-1]
    spread = f"{min(last['rounds']):,.0f}-{max(last['rounds']):,.0f}" if last["rounds"] else ""
    peers = "; ".join(f"{p['ratio']:.2f}x {p['peer']}" for p in result["peers"]) or "-"
    print(f"{result['workload'].upper():<4}{result['precision']:<6}{last['samples_per_s']:>12,.0f}{spread:>22}"
          f"{last['roofline_share']:>8.0%}{last['bytes_per_row']:>8.0f}  {peers}", flush=True)


def write_chart(results, path):
    """Samples per second as horizontal bars, ours and the peers' beside each other, each workload on a scale of its own."""
    bars = []
    for result in results:
        label = f"{result['workload'].upper()} {result['precision']}"
        group = [(f"{label} sluice", result["ours"][-1]["samples_per_s"], "#1f6feb")]
        group += [(f"{label} {p['peer']}", p["samples_per_s"], "#999999") for p in result["peers"]]
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
    OUT.mkdir(parents=True, exist_ok=True)
    workloads = sys.argv[1:] or ["k", "m", "d", "l", "h"]
    with_torch = installed("torch")
    print(f"{'':<10}{'samples/s':>12}{'spread':>22}{'share':>8}{'B/row':>8}  against")
    results = []
    for workload in workloads:
        for precision in PRECISIONS[:1] if workload == "l" else PRECISIONS:
            peers = torch_peer(workload, precision) if with_torch and workload in ("k", "m") else []
            results.append(measure(workload, precision, peers))
            print_row(results[-1])
    (OUT / "results.json").write_text(json.dumps(results, indent=1))
    write_chart(results, OUT / "chart.svg")
    print(f"{OUT / 'results.json'}, {OUT / 'chart.svg'}")


main()
