"""What the end-to-end tests share: small data sets, runs of the program, and a runner of test functions."""
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

SLUICE = os.environ.get("SLUICE_BIN", "build/sluice")
# Settings of a run that does not end before something is done to it, however quick the machine and slow the test.
ENDLESS = {"train__epochs": 100000, "train__eval_every_epoch": False}


def write_criteo(path, samples, seed=1, keys=200, bad=None):
    """Criteo-format lines: label, 13 integers, 26 hexadecimal categories. `bad` maps a line (from 0) to a function that
    takes and returns its columns."""
    rng = random.Random(seed)
    effect = [[rng.gauss(0, 1) for _ in range(keys)] for _ in range(26)]
    with open(path, "w", encoding="ascii") as file:
        for line in range(samples):
            values = [int(rng.random() ** 3 * keys) for _ in range(26)]
            logit = sum(effect[f][v] for f, v in enumerate(values)) * 0.4 - 1
            columns = ["1" if rng.random() < 1 / (1 + 2.718281828 ** -logit) else "0"]
            columns += ["" if rng.random() < 0.1 else str(int(rng.random() ** 4 * 1000)) for _ in range(13)]
            columns += ["%08x" % (f * 1000003 + v) for f, v in enumerate(values)]
            if bad and line in bad:
                columns = bad[line](columns)
            file.write("\t".join(columns) + "\n")
    return path


class Outcome:
    def __init__(self, process, out, err):
        self.code, self.out, self.err = process.returncode, out, err

    def __str__(self):
        return f"exit code {self.code}\n--- standard output\n{self.out}\n--- standard error\n{self.err}"


def start(*arguments, **options):
    return subprocess.Popen([SLUICE, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)


def finish(process, timeout=300):
    out, err = process.communicate(timeout=timeout)
    return Outcome(process, out, err)


def run(*arguments, code=0, **options):
    """Runs the program to its end and expects an exit code."""
    outcome = finish(start(*arguments, **options))
    check(outcome.code == code, f"sluice {' '.join(map(str, arguments))}: expected exit code {code}, got {outcome}")
    return outcome


def train_arguments(data, run_dir, model="deepfm", **settings):
    """`sluice train` of a small model; settings are key=value with __ for dots."""
    values = {"data.format": "criteo", "model.dim": 4, "model.mlp": "[16]", "threads": 2, "train.batch_size": 128,
              "checkpoint.every_steps": 10, "checkpoint.keep": 2, "log.every_steps": 10}
    values.update({key.replace("__", "."): value for key, value in settings.items()})
    arguments = ["train", data, "--model", model, "--run-dir", run_dir]
    for key, value in values.items():
        arguments += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    return arguments


def digest(checkpoint):
    text = run("inspect", checkpoint, "--digest").out.strip()
    check(len(text) == 16, f"a digest was expected: {text}")
    return text


def checkpoints(run_dir):
    """Paths of the run's checkpoints, oldest first, temporary ones left out."""
    folder = os.path.join(run_dir, "checkpoints")
    if not os.path.isdir(folder):
        return []
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.startswith("step-")]


def last_step(run_dir):
    """Of the run's newest checkpoint."""
    return int(os.path.basename(checkpoints(run_dir)[-1]).split("-")[1])


def leftovers(run_dir):
    """Temporary files and folders that something left in a run folder."""
    return [os.path.join(root, name) for root, folders, files in os.walk(run_dir) for name in folders + files
            if ".tmp" in name]


def metrics(run_dir):
    with open(os.path.join(run_dir, "metrics.json"), encoding="utf-8") as file:
        return json.load(file)


def wait_for(condition, process=None, timeout=120):
    """Waits until condition() holds; fails where the process, if one is given, ends before."""
    deadline = time.monotonic() + timeout
    while not condition():
        check(process is None or process.poll() is None, "the process ended before it was expected to")
        check(time.monotonic() < deadline, "timed out")
        time.sleep(0.005)


def check(condition, message="check failed"):
    if not condition:
        raise AssertionError(message)


def check_in(part, text):
    check(part in text, f"{part!r} was expected in: {text}")


@contextlib.contextmanager
def folder():
    path = tempfile.mkdtemp(prefix="sluice-e2e-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def main(module):
    """Runs every test_* function of the module, each with a folder of its own; names given as arguments pick some."""
    tests = {name: test for name, test in vars(module).items() if name.startswith("test_")}
    unknown = set(sys.argv[1:]) - set(tests)
    if unknown:
        sys.exit(f"there is no test {', '.join(sorted(unknown))}")
    failed = []
    for name, test in tests.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        begin = time.monotonic()
        with folder() as path:
            try:
                test(path)
                print(f"ok      {name} ({time.monotonic() - begin:.1f} s)", flush=True)
            except Exception:
                failed.append(name)
                print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if failed else 0)
