#!/usr/bin/env python3
"""report.py OUT [--svg FOLDER]: the tables of what run.py left in OUT, as Markdown, and pictures of the surface."""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import models_report  # noqa: E402
import results  # noqa: E402
import staleness_report  # noqa: E402
import surface_report  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="the folder of run.py's --out")
    parser.add_argument("--svg", metavar="FOLDER", help="where pictures go; in OUT where left out")
    args = parser.parse_args()
    parts = results.load(args.out)
    everything = [result for part in parts.values() for result in part]
    if not everything:
        raise SystemExit(f"{args.out}: no result of run.py")
    with open(os.path.join(args.out, "machine.txt"), encoding="utf-8") as file:
        print(file.read())
    runs, making = (sum(result[name] for result in everything) / 60 for name in ("seconds", "data_seconds"))
    print(f"{len(everything)} cases took {runs:.1f} minutes, and data {making:.1f}.")
    for kind in ("multi", "criteo"):
        print(models_report.presets(parts, kind), end="")
    print(models_report.against_servers(parts), end="")
    surface = surface_report.Surface(parts)
    print(surface_report.markdown(surface), end="")
    print(staleness_report.markdown(parts), end="")
    for model in surface.models:
        with open(os.path.join(args.svg or args.out, f"surface-{model}.svg"), "w", encoding="utf-8") as file:
            file.write(surface.svg(model))


if __name__ == "__main__":
    main()
