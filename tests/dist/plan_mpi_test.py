"""What the planner predicts beside what ranks that are processes send; `sluice plan` and a run choose alike."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import SLUICE, check, check_in, metrics, run, train_arguments, write_criteo  # noqa: E402

MULTI_HOT = {"data__format": "csv", "features__I{1..2}": "{type: numeric}", "features__C{1..6}": "{multi: true}"}
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe"]


def write_multi_hot(path, samples):
    """Six columns of 1 to 40 keys, wide and narrow."""
    run("synth", "--output", path, "--format", "csv", "--samples", samples, "--fields", 6, "--dense", 2, "--skew", 2,
        "--rows-of-fields", "[5, 300, 4000, 20000, 50, 2000]", "--keys-of-fields", "[1, 3, 40, 2, 9, 1]", "--report", "false")
    return path


def train(path, data, ranks, **settings):
    arguments = train_arguments(data, path, **{"threads": 1, "checkpoint__every_steps": 0, **settings})
    process = subprocess.run([*MPIRUN, "-n", str(ranks), SLUICE, *map(str, arguments)], capture_output=True, text=True,
                             timeout=120, check=False)
    check(process.returncode == 0, process.stderr)
    return process.stdout + process.stderr, metrics(path)


def check_predicted(got, what):
    predicted, measured = got["predicted_bytes_per_sample"], got["bytes_per_sample"]
    check(sum(predicted.values()) > 0, f"{what}: {got}")
    for kind, value in predicted.items():
        check(abs(value - measured[kind]) <= 0.05 * measured[kind] + 1e-9,
              f"{what}: {kind} predicted {value}, measured {measured[kind]}")


def test_predicted_bytes_are_those_that_processes_send(path):
    one_hot = write_criteo(os.path.join(path, "data.tsv"), 2560)
    multi_hot = write_multi_hot(os.path.join(path, "data.csv"), 2560)
    for name, data, more in [("one-hot", one_hot, {}), ("multi-hot", multi_hot, MULTI_HOT)]:
        for placement in ["des", "des_rs", "rows_a2a", "field_a2a", "auto"]:
            what = f"{name}, {placement}"
            text, got = train(os.path.join(path, f"{name}-{placement}"), data, 3, strategy__placement=placement, **more)
            check_predicted(got, what)
            check_in("bytes per sample predicted", text)


def test_a_measured_link_gives_all_ranks_one_plan(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 1280)
    text, got = train(os.path.join(path, "run"), data, 4, strategy__planner__link="measure")
    check_predicted(got, "measured link")
    check_in("chosen by time", text)


def test_plan_says_what_the_run_then_does(path):
    data = write_multi_hot(os.path.join(path, "data.csv"), 1280)
    config = os.path.join(path, "run", "config.yaml")
    _, got = train(os.path.join(path, "run"), data, 3, **MULTI_HOT)
    written = os.path.join(path, "plan.json")
    text = run("plan", config, "--ranks", 3, "--json", written).out
    check_in("the plan", text)
    with open(written, encoding="utf-8") as file:
        plan = json.load(file)
    for kind, value in plan["plan"]["by_kind"].items():
        check(abs(value - got["predicted_bytes_per_sample"][kind]) <= 1e-6 * (1 + value), f"{kind}: {value}, {got}")


def test_memory_that_does_not_hold_the_model_is_refused_with_what_it_needs(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 640)
    outcome = run("plan", data, "--ranks", 4, "--memory", "10kB", code=2)
    check_in("strategy.planner.memory_per_rank", outcome.err)
    outcome = run("plan", data, "--ranks", 1, code=2)
    check_in("--ranks 1", outcome.err)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
