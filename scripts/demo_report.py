"""demo_report.py OUT DATA [TEACHER.json]: the closing table of scripts/demo.sh from the runs' metrics.json."""
import json
import os
import sys


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def row(name, auc, logloss, calibration="", rate="", memory="", seconds=""):
    print(f"  {name:<12}{auc:>9}{logloss:>10}{calibration:>13}{rate:>14}{memory:>13}{seconds:>10}")


def main():
    out, data = sys.argv[1:3]
    print(f"\n{data}, the last tenth held out")
    row("", "AUC", "log loss", "calibration", "samples/s", "peak memory", "seconds")
    if len(sys.argv) > 3:
        tail = load(sys.argv[3])["tail"]
        row("teacher", f"{tail['auc']:.4f}", f"{tail['logloss']:.4f}")
    for model in ("deepfm", "lr"):
        m = load(os.path.join(out, model, "metrics.json"))
        row(model, f"{m['auc']:.4f}", f"{m['logloss']:.4f}", f"{m['calibration']:.3f}", f"{m['samples_per_s']:,.0f}",
            f"{m['peak_rss_bytes'] / 2**20:,.0f} MiB", f"{m['wall_s']:.1f}")
    if len(sys.argv) > 3:
        print("  (the teacher drew the labels: no model can be expected to do better)")
    print(f"model: {os.path.join(out, 'deepfm', 'checkpoints')}  (sluice inspect {os.path.join(out, 'deepfm')})")


main()
