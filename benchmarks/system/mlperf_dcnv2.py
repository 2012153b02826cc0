#!/usr/bin/env python3
"""Bytes per sample of every placement on MLPerf's DLRM-DCNv2 shape, predicted and measured.

Writes multi-hot data of the published sizes (26 tables, 214 keys a sample; the 40 M-row tables with an eighth of their rows), plans
with `sluice plan` for each number of ranks, then trains a few steps under every placement for the whole model, under the best mix
without DES and under the planner's mix, and sets what the ledgers counted beside what was predicted. Prints a table and writes
planner-mlperf.md and planner-mlperf.json to --out. Ranks are threads of one process, whose messages the same ledgers count;
--processes starts them with mpirun.

    benchmarks/system/mlperf_dcnv2.py --out out/planner          about ten minutes and 10 GiB on two cores
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "benchmarks" / "system" / "mlperf_dcnv2.yaml"
KEYS = [3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1]
ROWS = [40000000, 39060, 17295, 7424, 20265, 3, 7122, 1543, 63, 40000000, 3067956, 405282, 10, 2209, 11938, 155, 4, 976, 14,
        40000000, 40000000, 40000000, 590152, 12973, 108, 36]
DIM = 128
FULL_BATCH = 65536
MOST_ROWS = 1 << 24   # what sluice synth draws from
SPARSE = ("input_keys", "partials", "rows", "row_gradients")
KINDS = SPARSE + ("dense_gradients", "statistics")
ALL_DES, ALL_ROWS, NO_DES, PLAN, REPLICATED, SERVER = ("all DES (des_rs)", "all rows_a2a", "best mix without DES",
                                                       "the planner's mix", "all DES, dense net replicated (des)",
                                                       "parameter server")


def sluice(options, *arguments):
    subprocess.run([options.sluice, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def make_data(options, path, skew, samples, most_rows):
    rows = [min(n, most_rows) for n in ROWS]
    sluice(options, "synth", "--output", path, "--format", "csv", "--samples", samples, "--fields", 26,
           "--skew", skew, "--rows-of-fields", rows, "--keys-of-fields", KEYS,
           "--report", "false")
    return path


def settings(options, more):
    values = [f"train.batch_size={options.batch}", f"strategy.planner.samples={options.batch}"] + [f"strategy.planner.rows.C{i + 1}={options.rows}"
                                                      for i, n in enumerate(ROWS) if n > options.rows]
    return [part for value in values + more for part in ("--set", value)]


def plan(options, folder, data, ranks, more=()):
    path = folder / f"plan-{ranks}.json"
    sluice(options, "plan", CONFIG, "--ranks", ranks, "--sample", data, "--json", path, *settings(options, list(more)))
    return json.loads(path.read_text())


def plan_whole(options, folder, data, ranks):
    """The benchmark itself: its batch and its rows."""
    rows = [f"strategy.planner.rows.C{i + 1}={n}" for i, n in enumerate(ROWS) if n == max(ROWS)]
    return plan(options, folder, data, ranks, [f"train.batch_size={FULL_BATCH}", "strategy.planner.largest_home=16GiB", *rows])


def train(options, folder, data, ranks, more):
    """Bytes per sample by kind: counted by the ledgers, and predicted by the run itself."""
    run = pathlib.Path(tempfile.mkdtemp(dir=folder))
    sets = settings(options, [f"data.train={data}", f"train.max_steps={options.steps}", f"threads={options.threads}", *more])
    command = [options.sluice, "train", str(CONFIG), "--run-dir", str(run), "--quiet", *sets]
    if options.processes:
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(ranks), *command]
    else:
        command += ["--ranks", str(ranks)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    metrics = json.loads((run / "metrics.json").read_text())
    shutil.rmtree(run)
    return metrics["bytes_per_sample"], metrics["predicted_bytes_per_sample"]


def parameter_server(planned):
    """Pull and push of every unique key of a worker's batch with its row, and of the dense net (des.md, section on costs)."""
    samples = planned["batch_size"]
    sparse = sum(2 * group["unique_per_sample"] * (8 + 4 * DIM) for group in planned["groups"])
    return {"rows": sparse, "dense_gradients": planned["ranks"] * 2 * 4 * planned["dense_params"] / samples}


def named(choices, groups):
    """Settings that give each field its placement."""
    return ["strategy.placement=rows_a2a"] + [f"strategy.fields.{field}={choice}" for choice, group in zip(choices, groups)
                                              for field in group["fields"]]


def total(kinds, of=KINDS):
    return sum(kinds.get(kind, 0) for kind in of)


def measure(options, folder, data, whole, ranks):
    planned = plan(options, folder, data, ranks)
    mix = planned["rivals"]["best mix without DES"]
    rows = [{"name": SERVER, "predicted": parameter_server(planned), "measured": None}]
    cases = [(ALL_DES, ["strategy.placement=des_rs"]), (ALL_ROWS, ["strategy.placement=rows_a2a"]),
             (NO_DES, named(mix["choices"], planned["groups"])), (PLAN, [])]
    # All samples on every rank: a batch that fits the memory. Bytes per sample do not depend on it.
    cases.append((REPLICATED, ["strategy.placement=des", f"train.batch_size={max(24, options.batch // 4)}"]))
    for name, more in cases:
        measured, predicted = train(options, folder, data, ranks, more)
        rows.append({"name": name, "predicted": predicted, "measured": {kind: measured.get(kind, 0) for kind in KINDS}})
        print(f"  {ranks} ranks, {name}: predicted {total(predicted):.0f}, measured {total(rows[-1]['measured']):.0f}",
              file=sys.stderr)
    for row in rows:
        if row["measured"] is not None:
            row["error"] = total(row["predicted"]) / total(row["measured"]) - 1
    full = plan_whole(options, folder, whole, ranks) if whole else None
    return {"ranks": ranks, "placements": rows, "plan": planned, "mix_without_des": mix["choices"], "full_batch": full}


def ratio_of(result, of):
    found = {row["name"]: row["measured"] for row in result["placements"]}
    return total(found[PLAN], of) / total(found[NO_DES], of)


def table(result):
    lines = ["| placement | keys | partials | rows and gradients | sparse | dense gradients | all, measured | all, predicted | error |",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in result["placements"]:
        kinds = row["measured"] or row["predicted"]
        measured = f"{total(row['measured']):,.0f}" if row["measured"] else "not run"
        error = f"{100 * row['error']:+.2f}%" if row["measured"] else ""
        cells = [row["name"], *(f"{value:,.0f}" for value in (kinds.get("input_keys", 0), kinds.get("partials", 0),
                                                              kinds.get("rows", 0) + kinds.get("row_gradients", 0),
                                                              total(kinds, SPARSE), kinds.get("dense_gradients", 0))),
                 measured, f"{total(row['predicted']):,.0f}", error]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def counts(choices):
    names = sorted(set(choices))
    return ", ".join(f"{name} {choices.count(name)}" for name in names)


def verdict(result):
    sparse, everything = ratio_of(result, SPARSE), ratio_of(result, KINDS)
    text = f"The planner's mix sends {sparse:.2f} of the sparse bytes of the best mix without DES, and {everything:.2f} of all"
    dense = next(row for row in result["placements"] if row["name"] == PLAN)["measured"]["dense_gradients"]
    if sparse > 0.5:
        text += ("; more than half, since keys repeat within a rank's samples: pulled once, a row then costs less than the "
                 "partials of every sample that reads it")
    elif everything > 0.5:
        text += (f"; of all it is more than half because of the dense gradients, {dense:,.0f} bytes per sample in both, which "
                 "shrink as the batch grows")
    return text + "."


def full_batch(result):
    groups = result["full_batch"]
    rivals = groups["rivals"]
    mix, rows = rivals["best mix without DES"], rivals["rows_a2a"]
    return (f"| {result['ranks']} | {total(parameter_server(groups)):,.0f} | {rivals['des_rs']['bytes_per_sample']:,.0f} | "
            f"{rows['bytes_per_sample']:,.0f} | {mix['bytes_per_sample']:,.0f} | {groups['plan']['bytes_per_sample']:,.0f} | "
            f"{groups['plan']['bytes_per_sample'] / mix['bytes_per_sample']:.2f} |")


def groups_table(result):
    lines = ["| field | keys | unique of a rank | rows | rows_a2a | field_a2a | des_rs | choice | without DES |",
             "|---|---|---|---|---|---|---|---|---|"]
    for group, without in zip(result["plan"]["groups"], result["mix_without_des"]):
        costs = group["alternatives"]
        cells = [group["fields"][0], f"{group['keys_per_sample']:.0f}", f"{group['unique_per_sample']:.2f}", f"{group['rows']:,.0f}"]
        cells += [f"{costs[p]['bytes_per_sample']:,.0f}" if costs[p]["possible"] else "too large"
                  for p in ("rows_a2a", "field_a2a", "des_rs")]
        lines.append("| " + " | ".join(cells + [group["choice"], without]) + " |")
    return "\n".join(lines)


def command_line(options):
    words = ["benchmarks/system/mlperf_dcnv2.py"] + [f"--{name}" for name in ("processes", "full") if getattr(options, name)]
    return " ".join(words + [f"--batch {options.batch}", f"--steps {options.steps}"])


def report(options, results):
    ranks_are = "processes under mpirun" if options.processes else "threads of one process, whose messages the same ledgers count"
    text = f"""# The planner on MLPerf's DLRM-DCNv2 shape

    {command_line(options)}

26 tables, {sum(KEYS)} keys a sample, dim {DIM}, the published bottom, cross and top network; global batch {options.batch:,},
{options.steps} steps; the 40 M-row tables have {options.rows:,} rows and may not live whole at one rank (`largest_home: 2GiB`). Ranks are
{ranks_are}. Payload bytes per sample, summed over ranks; the parameter
server is the formula 2u(8 + 4d) for the unique keys u of each rank's samples, dense parameters pulled and pushed whole. "Sparse" is
keys, partials, rows and row gradients. Every prediction is made before the first step, from statistics of the first batch alone; the
dense gradients weigh more here than in the benchmark, whose batch is 65,536.
"""
    for name, case in results.items():
        text += f"\n## {name}\n"
        for result in case:
            text += f"\n### {result['ranks']} ranks\n\n{table(result)}\n\n"
            text += f"Plan: {counts([group['choice'] for group in result['plan']['groups']])}. "
            text += f"Without DES: {counts(result['mix_without_des'])}. {verdict(result)}\n"
        if options.full:
            text += (f"\n### The benchmark's own batch of {FULL_BATCH:,} and rows, predicted (keys drawn from {MOST_ROWS:,})\n\n"
                     "| ranks | parameter server | all DES | all rows_a2a | best mix without DES | the planner's mix | ratio |\n"
                     "|---|---|---|---|---|---|---|\n" + "\n".join(full_batch(result) for result in case) + "\n")
        text += f"\n### Field by field, {case[-1]['ranks']} ranks, bytes per sample of each field alone\n\n{groups_table(case[-1])}\n"
    worst = max(abs(row["error"]) for case in results.values() for result in case for row in result["placements"] if "error" in row)
    return text + f"\nLargest difference between predicted and measured: {100 * worst:.2f}%.\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sluice", default=os.environ.get("SLUICE_BIN", str(ROOT / "build" / "sluice")))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/planner"))
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rows", type=int, default=5000000, help="rows of the 40 M-row tables")
    parser.add_argument("--skews", type=float, nargs="+", default=[1, 8], help="1: keys drawn evenly, hardly any twice")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--full", action="store_true", help="also plan for the benchmark's own batch and rows")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    with tempfile.TemporaryDirectory(prefix="sluice-mlperf-") as place:
        folder = pathlib.Path(place)
        for skew in options.skews:
            name = "Keys drawn evenly" if skew == 1 else f"Keys by a power law (skew {skew:g})"
            data, whole = folder / "part.csv", folder / "whole.csv" if options.full else None
            make_data(options, data, skew, options.batch * options.steps, options.rows)
            if whole:
                make_data(options, whole, skew, FULL_BATCH, MOST_ROWS)
            results[name] = [measure(options, folder, data, whole, ranks) for ranks in options.ranks]
    text = report(options, results)
    (options.out / "planner-mlperf.md").write_text(text)
    (options.out / "planner-mlperf.json").write_text(json.dumps(results, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
