#!/usr/bin/env python3
"""report.py OUT: the tables of what run.py left in OUT, as Markdown."""
import glob
import json
import math
import os
import sys

# Two-sided 95% of Student's t by degrees of freedom.
T95 = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
PAPER = {"lr": ("1.55", "+0.0007"), "wide_deep": ("4.52", "+0.0010"), "deepfm": ("3.91", "+0.0008")}


def load(folder):
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        if "case" in result:
            found.append(result)
    return found


def run_of(result, preset):
    return next((r for r in result["runs"] if r["preset"] == preset and r["state"] == "done"), None)


def interval(differences):
    """Mean and half of its 95% interval."""
    n = len(differences)
    mean = sum(differences) / n
    if n < 2:
        return mean, float("nan")
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1))
    return mean, T95.get(n - 1, 2.2) * deviation / math.sqrt(n)


def kinds_text(run):
    return ", ".join(f"{kind} {value:.0f}" for kind, value in run["bytes_per_sample"].items() if value >= 0.5) or "none"


def models_part(results):
    print("## Models: bytes, speed, memory (first seed)\n")
    print("| data | model | preset | samples/s | B/sample sent | by kind | on the wire | CPU us/sample | cores | memory | AUC |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for result in results:
        case = result["case"]
        if case["part"] != "models" or case["seed"] != 1:
            continue
        for r in result["runs"]:
            head = f"| {case['kind']} | {case['model']} | {r['preset']} | "
            if r["state"] != "done":
                print(head + f"{r['state']}: {r['why'][:90]} | | | | | | | |")
                continue
            wire = f"{r['wire_per_sample']:.0f}" if r["wire_per_sample"] is not None else "-"
            print(head + f"{r['samples_per_s']:.0f} | {r['sent_per_sample']:.0f} | {kinds_text(r)} | {wire} | "
                  f"{r['cpu_us_per_sample']:.1f} | {r['cores_busy']:.2f} | {r['largest_rss_bytes'] / 2**20:.0f} MiB | "
                  f"{r['auc']:.5f} |")
    print("\n## DES against the asynchronous servers, over seeds of data and model\n")
    print("| data | model | seeds | bytes saved | speed of DES over servers | AUC of DES minus servers (95%) | "
          "log loss (95%) | paper: speed, AUC |")
    print("|---|---|---|---|---|---|---|---|")
    groups = {}
    for result in results:
        case = result["case"]
        pair = run_of(result, "des"), run_of(result, "ps-async")
        if case["part"] == "models" and all(pair):
            groups.setdefault((case["kind"], case["model"]), []).append(pair)
    for (kind, model), pairs in groups.items():
        auc, auc_half = interval([d["auc"] - p["auc"] for d, p in pairs])
        loss, loss_half = interval([d["logloss"] - p["logloss"] for d, p in pairs])
        saved, _ = interval([1 - d["sent_per_sample"] / p["sent_per_sample"] for d, p in pairs])
        speed, speed_half = interval([d["samples_per_s"] / p["samples_per_s"] for d, p in pairs])
        paper = PAPER.get(model, ("-", "-"))
        print(f"| {kind} | {model} | {len(pairs)} | {100 * saved:.1f}% | {speed:.2f} ± {speed_half:.2f} | "
              f"{auc:+.5f} ± {auc_half:.5f} | {loss:+.5f} ± {loss_half:.5f} | {paper[0]}x, {paper[1]} |")


def crossing(points):
    """Where ln(ratio) over ln(keys) passes 0, between measured points; None where it does not."""
    points = sorted(points)
    for (k0, r0), (k1, r1) in zip(points, points[1:]):
        if (r0 - 1) * (r1 - 1) <= 0 and r0 != r1:
            share = math.log(r0) / (math.log(r0) - math.log(r1))
            return math.exp(math.log(k0) + share * (math.log(k1) - math.log(k0)))
    return None


def shown(keys, points):
    if keys is not None:
        return f"{keys:.1f}"
    return f"below {min(k for k, _ in points)}" if all(r < 1 for _, r in points) else f"above {max(k for k, _ in points)}"


def surface_part(results):
    cells = {}
    for result in results:
        if result["case"]["part"] == "surface":
            cells[tuple(result["case"][name] for name in ("model", "keys", "ranks", "link"))] = result
    if not cells:
        return
    presets = ("des", "des_rs", "rows_a2a", "ps-async")
    print("\n## Surface: keys per field x ranks x link\n")
    print("Samples/s (B/sample sent). In brackets, on a shaped link: the rate that the unshaped run and the bytes predict,\n"
          "1 / (1 / unshaped rate + bytes / (ranks x link)).\n")
    print("| model | keys per field | ranks | link | " + " | ".join(presets) + " |")
    print("|---|---|---|---|" + "---|" * len(presets))
    rate = {"10Gbit": 1.25e9, "1Gbit": 1.25e8, "100Mbit": 1.25e7}
    speed, predicted, bytes_ratio = {}, {}, {}
    for (model, keys, ranks, link), result in sorted(cells.items(), key=lambda cell: tuple(map(str, cell[0]))):
        row = []
        for preset in presets:
            r = run_of(result, preset)
            if r is None:
                row.append("-")
                continue
            text = f"{r['samples_per_s']:.0f} ({r['sent_per_sample']:.0f} B)"
            speed[model, keys, ranks, link, preset] = r["samples_per_s"]
            free = cells.get((model, keys, ranks, None))
            free = run_of(free, preset) if free else None
            if link and free:
                guess = 1 / (1 / free["samples_per_s"] + r["sent_per_sample"] / (ranks * rate[link]))
                predicted[model, keys, ranks, link, preset] = guess
                text += f" [{guess:.0f}]"
            row.append(text)
        d, p = run_of(result, "des"), run_of(result, "ps-async")
        if d and p:
            bytes_ratio.setdefault((model, ranks), {})[keys] = d["sent_per_sample"] / p["sent_per_sample"]
        print(f"| {model} | {keys} | {ranks} | {link or 'none'} | " + " | ".join(row) + " |")
    print("\nKeys per field from which DES is ahead of the asynchronous servers:\n")
    print("| model | ranks | by bytes | link | by speed, predicted | by speed, observed |")
    print("|---|---|---|---|---|---|")
    for (model, ranks), ratios in sorted(bytes_ratio.items()):
        by_bytes = shown(crossing(list(ratios.items())), list(ratios.items()))
        for link in sorted({key[3] for key in speed if key[:1] == (model,) and key[2] == ranks}, key=str):
            def ratio(rates):
                return [(keys, rates[model, keys, ranks, link, "ps-async"] / rates[model, keys, ranks, link, "des"])
                        for keys in sorted(ratios) if (model, keys, ranks, link, "des") in rates
                        and (model, keys, ranks, link, "ps-async") in rates]
            seen, guess = ratio(speed), ratio(predicted)
            print(f"| {model} | {ranks} | {by_bytes} | {link or 'none'} | "
                  f"{shown(crossing(guess), guess) if guess else '-'} | {shown(crossing(seen), seen) if seen else '-'} |")


def staleness_part(results):
    rows, base = {}, {}
    for result in results:
        case = result["case"]
        if case["part"] != "staleness":
            continue
        run = result["runs"][0]
        if run["state"] != "done":
            continue
        if case["presets"] == "one":
            base[case["model"], case["seed"]] = run
        else:
            rows.setdefault((case["model"], case["ranks"], case.get("ahead", 0)), []).append((case["seed"], run))
    if not rows:
        return
    print("\n## Quality against staleness\n")
    print("| model | workers | pulled ahead, batches | staleness (pushes of others) | samples/s | AUC minus one process (95%) | "
          "log loss minus one process (95%) |")
    print("|---|---|---|---|---|---|---|")
    for (model, workers, ahead), runs in sorted(rows.items()):
        pairs = [(run, base[model, seed]) for seed, run in runs if (model, seed) in base]
        if not pairs:
            continue
        auc, auc_half = interval([a["auc"] - b["auc"] for a, b in pairs])
        loss, loss_half = interval([a["logloss"] - b["logloss"] for a, b in pairs])
        stale = sum(a["staleness"] for a, _ in pairs) / len(pairs)
        rate = sum(a["samples_per_s"] for a, _ in pairs) / len(pairs)
        print(f"| {model} | {workers} | {ahead} | {stale:.2f} | {rate:.0f} | {auc:+.5f} ± {auc_half:.5f} | "
              f"{loss:+.5f} ± {loss_half:.5f} |")


def main():
    results = load(sys.argv[1])
    models_part(results)
    surface_part(results)
    staleness_part(results)


if __name__ == "__main__":
    main()
