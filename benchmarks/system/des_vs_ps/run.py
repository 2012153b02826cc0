#!/usr/bin/env python3
"""DES and its rivals against the asynchronous parameter server: bytes, speed, quality, memory; where one overtakes the other;
quality against staleness. One command:

    benchmarks/system/des_vs_ps/run.py                 under half an hour on two cores
    benchmarks/system/des_vs_ps/run.py --form full

Every run is `sluice compare`: separate processes, each with its machine's shaped link (network namespaces; needs root), all
of them on the same cores. Data comes from `sluice synth` with keys that arrive and leave, in time order; every sample is
scored before it is trained on. What is done is kept in --out and not done again; report.py makes the tables."""
import argparse
import json
import os
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import cases  # noqa: E402


def jobs(form):
    """(name, part, settings) of every run."""
    for seed in range(1, form["seeds"] + 1):
        for data in ("multi", "criteo"):
            for model in cases.MODELS:
                # The first seed shows every preset; of the others, which compute the same model, one is enough for quality.
                presets = cases.PRESETS if seed == 1 else "des,ps-async"
                yield f"models-{data}-{model}-seed{seed}", "models", {
                    "kind": data, "model": model, "seed": seed, "presets": presets, "ranks": form["ranks"],
                    "link": form["link"], "shape": form[data]}
    surface = form["surface"]
    for model in surface["models"]:
        for keys in surface["keys"]:
            for ranks in surface["ranks"]:
                for link in surface["links"]:
                    yield f"surface-{model}-keys{keys}-ranks{ranks}-{link or 'unshaped'}", "surface", {
                        "kind": "multi", "model": model, "seed": 1, "presets": "des,des_rs,rows_a2a,ps-async", "ranks": ranks,
                        "link": link, "keys": keys, "shape": dict(form["multi"], samples=surface["samples"])}
    stale = form["staleness"]
    for model in stale["models"]:
        for ahead in stale["pull_ahead"]:
            for workers in stale["workers"]:
                for seed in range(1, stale["seeds"] + 1):
                    yield f"staleness-{model}-workers{workers}-ahead{ahead}-seed{seed}", "staleness", {
                        "kind": "criteo", "model": model, "seed": seed, "presets": "ps-async", "ranks": workers,
                        "link": "1Gbit", "ahead": ahead, "shape": dict(form["criteo"], samples=stale["samples"])}
        for seed in range(1, stale["seeds"] + 1):
            yield f"staleness-{model}-one-seed{seed}", "staleness", {
                "kind": "criteo", "model": model, "seed": seed, "presets": "one", "ranks": 1, "link": None,
                "shape": dict(form["criteo"], samples=stale["samples"])}


def run(name, part, job, form, args):
    out = os.path.join(args.out, f"{name}.json")
    if os.path.exists(out):
        return
    shape = dict(job["shape"])
    batch = shape.pop("batch")
    samples = shape.pop("samples")
    data = cases.make_data(args.sluice, args.data, job["kind"], job["seed"], samples, keys=job.get("keys"), **shape)
    config = cases.write_config(args.out, name, data, job["model"], form, batch)
    command = shlex.split(args.prefix) + [args.sluice, "compare", config, "--presets", job["presets"], "--ranks",
                                          str(job["ranks"]), "--seeds", str(job["seed"]), "--json", out + ".new", "--quiet"]
    # A worker's batch is that of all ranks together: as many samples stand behind a step of either, so that what differs is
    # staleness, not the size of steps.
    command += ["--worker-batch", str(batch)]
    if job["link"]:
        command += ["--link", job["link"]]
    if "ahead" in job:
        command += ["--set", f"strategy.pull_ahead={job['ahead']}"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 4) or not os.path.exists(out + ".new"):
        raise SystemExit(f"{name}: sluice compare left with code {done.returncode}")
    with open(out + ".new", encoding="utf-8") as file:
        result = json.load(file)
    result["case"] = {"name": name, "part": part, **{k: v for k, v in job.items() if k != "shape"}, "data": os.path.basename(data)}
    with open(out + ".new", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    os.replace(out + ".new", out)
    for found in result["runs"]:
        told = f"{found['samples_per_s']:.0f} samples/s, AUC {found['auc']:.5f}" if found["state"] == "done" else found["why"]
        print(f"{name}: {found['preset']}: {told}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=sorted(cases.FORMS), default="quick",
                        help="small: minutes, for a look; quick: under half an hour on two cores; full: hours")
    parser.add_argument("--sluice", default=os.path.join(HERE, "..", "..", "..", "build", "sluice"))
    parser.add_argument("--out", default="out/des_vs_ps")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--prefix", default="", help="put before every run, such as: taskset -c 0,1")
    args = parser.parse_args()
    args.sluice = os.path.abspath(args.sluice)
    form = cases.FORMS[args.form]
    args.data = os.path.join(args.out, "data")
    os.makedirs(args.data, exist_ok=True)
    for name, part, job in jobs(form):
        if args.only not in name:
            continue
        if args.list:
            print(name)
        else:
            run(name, part, job, form, args)
    if not args.list:
        subprocess.run([sys.executable, os.path.join(HERE, "report.py"), args.out], check=True)


if __name__ == "__main__":
    main()
