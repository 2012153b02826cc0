#!/usr/bin/env python3
"""DES and its rivals against the asynchronous parameter server: bytes, speed, quality, memory; where one overtakes the other;
quality against staleness. One command:

    benchmarks/system/des_vs_ps/run.py                 under half an hour on two cores
    benchmarks/system/des_vs_ps/run.py --form full     the same with more data, more of every axis and larger nets: a day and a half

Every case is `sluice compare`: separate processes, each with its machine's shaped link (network namespaces; needs root), all
of them on the same cores. Data comes from `sluice synth` with keys that arrive and leave, in time order; every sample is
scored before it is trained on. What is done is kept in --out and not done again, so a run that was ended goes on with the
same command; report.py makes the tables."""
import argparse
import glob
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import forms  # noqa: E402
import inputs  # noqa: E402


def second_half(folder):
    """AUC and log loss of the second half of the samples that a run scored before it trained on them: means of its windows, of
    all workers, weighed by their samples. A worker's windows are of its own samples."""
    auc = loss = samples = 0
    for path in glob.glob(os.path.join(folder, "train.jsonl")) + glob.glob(os.path.join(folder, "worker-*", "train.jsonl")):
        with open(path, encoding="utf-8") as file:
            windows = [w for w in map(json.loads, file) if w["event"] == "window"]
        end = windows[-1]["first_sample"] + windows[-1]["samples"] if windows else 0
        for window in windows:
            if window["first_sample"] >= end / 2 and window["auc"] is not None:   # of one class there is none
                size = window["samples"]   # of the window
                auc, loss, samples = auc + size * window["auc"], loss + size * window["logloss"], samples + size
    return {"late_auc": auc / samples, "late_logloss": loss / samples, "late_samples": samples} if samples else {}


def call(command, limit_s):
    """The exit code; a command that takes too long, or an interrupt, is told once to end, and clears its namespaces away."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(limit_s)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if isinstance(error, KeyboardInterrupt):
            raise
        return -1


def run(name, part, case, args):
    """Runs a case and keeps its result; returns what went wrong, or nothing."""
    start = time.monotonic()
    data, about = inputs.data_of(args.sluice, args.data, case)
    data_s = time.monotonic() - start
    with open(about, encoding="utf-8") as file:
        told = json.load(file)
    config = inputs.write_config(os.path.join(args.out, name + ".yaml"), case, data)
    folders = os.path.join(args.out, name + ".runs")
    new = os.path.join(args.out, name + ".new")
    # A worker's batch is that of all ranks together: as many samples stand behind a step of either, so that what differs is
    # staleness, not the size of steps.
    command = shlex.split(args.prefix) + [
        args.sluice, "compare", config, "--presets", ",".join(case["presets"]), "--ranks", str(case["ranks"]), "--seeds",
        str(case["seed"]), "--worker-batch", str(case["batch"]), "--set", f"strategy.pull_ahead={case['ahead']}", "--json", new,
        "--run-dir", folders, "--quiet"]
    if case["link"]:
        command += ["--link", case["link"]]
    try:
        code = call(command, 60 + 20 * forms.seconds(case))
        if code not in (0, 4) or not os.path.exists(new):
            return f"sluice compare left with code {code}" if code >= 0 else "it took too long and was ended"
        with open(new, encoding="utf-8") as file:
            result = json.load(file)
        for found in result["runs"]:
            if found["state"] == "done":
                found.update(second_half(os.path.join(folders, f"{found['preset']}-seed{found['seed']}")))
                print(f"{name}: {found['preset']}: {found['samples_per_s']:.0f} samples/s, "
                      f"{found['sent_per_sample']:.0f} B a sample, AUC {found['auc']:.5f}", flush=True)
        failed = [f"{found['preset']}: {found['why']}" for found in result["runs"] if found["state"] == "failed"]
        if failed:
            return "; ".join(failed)
        result.update({"part": part, "case": case, **told, "seconds": time.monotonic() - start - data_s, "data_seconds": data_s})
        with open(new, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
        os.replace(new, os.path.join(args.out, name + ".json"))
        return None
    finally:
        shutil.rmtree(folders, ignore_errors=True)
        for left in (config, new):
            if os.path.exists(left):
                os.remove(left)


def kept(name, case, args):
    """Whether the result of the very same case is there."""
    try:
        with open(os.path.join(args.out, name + ".json"), encoding="utf-8") as file:
            return json.load(file)["case"] == case
    except (OSError, ValueError, KeyError):
        return False


def write_machine(args):
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")),
               platform.processor())
    with open(os.path.join(args.out, "machine.txt"), "w", encoding="utf-8") as file:
        file.write(f"Form `{args.form}`, {len(os.sched_getaffinity(0))} cores, {cpu}, Linux {platform.release()}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=sorted(forms.FORMS), default="quick",
                        help="small: minutes, for a look; quick: under half an hour on two cores; full: a day and a half")
    parser.add_argument("--sluice", default=os.path.join(HERE, "..", "..", "..", "build", "sluice"))
    parser.add_argument("--out", default="out/des_vs_ps")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and what they take, roughly")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no case after so many; call again to go on")
    parser.add_argument("--prefix", default="", help="put before every run, such as: taskset -c 0,1")
    args = parser.parse_args()
    args.sluice = os.path.abspath(args.sluice)
    args.out = os.path.abspath(args.out)
    args.data = os.path.join(args.out, "data")
    chosen = [(name, part, case) for part, name, case in forms.cases(forms.FORMS[args.form]) if args.only in name]
    if args.list:
        for name, part, case in chosen:
            print(f"{name}: about {forms.seconds(case):.0f} s")
        print(f"{len(chosen)} cases, about {sum(forms.seconds(case) for _, _, case in chosen) / 60:.0f} minutes")
        return 0
    os.makedirs(args.data, exist_ok=True)
    write_machine(args)
    signal.signal(signal.SIGTERM, signal.default_int_handler)   # an end that is asked for is an interrupt
    chosen = [job for job in chosen if not kept(job[0], job[2], args)]
    left = sum(forms.seconds(case) for _, _, case in chosen)
    print(f"{len(chosen)} cases to run, about {left / 60:.0f} minutes", flush=True)
    start, wrong, done, pace = time.monotonic(), [], 0.0, 1.0
    for name, part, case in chosen:
        if time.monotonic() - start > 60 * args.minutes:
            print(f"--minutes {args.minutes:g} are over; the same command goes on")
            break
        why = run(name, part, case, args) and run(name, part, case, args)   # what fails has a second chance
        if why:
            wrong.append(f"{name}: {why}")
            print(wrong[-1], file=sys.stderr, flush=True)
        done += forms.seconds(case)
        pace = (time.monotonic() - start) / done
        print(f"{(time.monotonic() - start) / 60:.1f} minutes, about {pace * (left - done) / 60:.0f} to go", flush=True)
    subprocess.run([sys.executable, os.path.join(HERE, "report.py"), args.out], check=True)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
