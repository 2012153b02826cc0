"""What run.py left in a folder, and means with their intervals."""
import glob
import json
import math
import os

# Two-sided 95% of Student's t by degrees of freedom.
T95 = [float("nan"), 12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145]


def load(folder):
    """Results of cases, as {part: [result]}."""
    parts = {"models": [], "surface": [], "staleness": []}
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        if "case" in result:
            parts[result["part"]].append(result)
    return parts


def run_of(result, preset):
    return next((r for r in result["runs"] if r["preset"] == preset and r["state"] == "done"), None)


def interval(values):
    """Mean of independent values and half of its 95% interval."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, float("nan")
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    return mean, T95[min(n, len(T95)) - 1] * deviation / math.sqrt(n)


def difference(pairs, name):
    """Of (a, b) runs: a minus b, as text."""
    mean, half = interval([a[name] - b[name] for a, b in pairs])
    return f"{mean:+.4f}" + ("" if math.isnan(half) else f" ± {half:.4f}")


def ratio(pairs, name):
    """Of (a, b) runs: the geometric mean of a over b and its interval, as text."""
    mean, half = interval([math.log(a[name] / b[name]) for a, b in pairs])
    if math.isnan(half):
        return f"{math.exp(mean):.2f}"
    return f"{math.exp(mean):.2f} ({math.exp(mean - half):.2f}-{math.exp(mean + half):.2f})"


def link_share(result, run):
    """How much of what the links could have sent was sent while the run trained."""
    if run["wire_per_sample"] is None or not result["link_mbit_per_s"]:
        return None
    return run["wire_per_sample"] * run["samples_per_s"] / (result["ranks"] * result["link_mbit_per_s"] * 1e6 / 8)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"
