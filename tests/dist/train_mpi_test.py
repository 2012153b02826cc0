"""Training by ranks that are processes under mpirun: the metrics of one process, and the loss of a rank."""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import SLUICE, check, check_in, checkpoints, metrics, run, train_arguments, write_criteo  # noqa: E402

TIMEOUT_S = 3   # patience with the rank that is killed
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe"]
# mpirun would end the survivors itself before they could tell which rank was lost.
LEAVE_SURVIVORS = ["--mca", "orte_enable_recovery", "1", "--mca", "orte_abort_on_non_zero_status", "0"]


def settings(**more):
    values = {"data__split__kind": "tail", "precision": "fp64", "threads": 1, "strategy__timeout_s": 60}
    values.update(more)
    return values


def test_metrics_are_those_of_one_process(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    alone = os.path.join(path, "alone")
    run(*train_arguments(data, alone, model="wide_deep", **settings()))
    expected = metrics(alone)
    mix = {"strategy.fields.C1": "field_a2a", "strategy.fields.C{2..9}": "rows_a2a"}
    for name, more in {"des": {}, "des_rs": {}, "field_a2a": {}, "rows_a2a": {}, "auto": {},
                       "des_rs mixed": mix, "rows_a2a mixed sharded": {"strategy.fields.C{1..3}": "field_a2a",
                                                                       "strategy.fields.C{4..9}": "des_rs",
                                                                       "strategy.input": "sharded"},
                       "des by_rows": {"strategy.first_layer": "by_rows"},
                       "des_rs by_hash sharded": {"strategy.first_layer": "by_hash", "strategy.input": "sharded"}}.items():
        placement = name.split()[0]
        folder = os.path.join(path, name.replace(" ", "-"))
        arguments = train_arguments(data, folder, model="wide_deep", **settings(strategy__placement=placement, **more))
        process = subprocess.run([*MPIRUN, "-n", "3", SLUICE, *map(str, arguments)], capture_output=True, text=True,
                                 timeout=120, check=False)
        check(process.returncode == 0, process.stderr)
        got = metrics(folder)
        for metric in ["auc", "logloss"]:
            check(abs(got[metric] - expected[metric]) < 1e-9, f"{name}: {metric} {got[metric]}, not {expected[metric]}")
        check(got["steps"] == expected["steps"] and got["rows"] == expected["rows"], f"{name}: {got}")
        check(got["bytes_per_sample"]["sent"] > 0 and got["sent_skew"] >= 1, f"{name}: {got}")
        check_in("largest rank", process.stdout + process.stderr)


def test_dense_gradients_overlapped_with_backward_give_the_same_bits(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    digests = []
    for overlap in [True, False]:
        folder = os.path.join(path, f"overlap-{overlap}")
        arguments = train_arguments(data, folder, **settings(strategy__placement="des_rs", precision="fp32", threads=2,
                                                             strategy__dense__overlap=overlap,
                                                             strategy__dense__bucket_kib=1))
        process = subprocess.run([*MPIRUN, "-n", "3", SLUICE, *map(str, arguments)], capture_output=True, text=True,
                                 timeout=120, check=False)
        check(process.returncode == 0, process.stderr)
        digests.append(harness.digest(checkpoints(folder)[-1]))
    check(digests[0] == digests[1], f"{digests}")


def test_ranks_with_other_settings_are_refused(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 200)
    arguments = [SLUICE, *map(str, train_arguments(data, os.path.join(path, "run"), **settings()))]
    process = subprocess.run([*MPIRUN, "-n", "1", *arguments, ":", "-n", "1", *arguments, "--set", "model.dim=5"],
                             capture_output=True, text=True, timeout=60, check=False)
    check(process.returncode == 2, process.stderr)
    check_in('rank 1: its configuration is not that of rank 0: "dim: 5" here, "dim: 4" there', process.stderr)


def test_survivors_name_a_killed_rank_and_leave_with_code_4_and_the_run_goes_on(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    folder = os.path.join(path, "run")
    arguments = train_arguments(data, folder, **settings(**harness.ENDLESS, strategy__timeout_s=TIMEOUT_S))
    script = 'echo "rank $OMPI_COMM_WORLD_RANK is $$" >&2; "$@"; echo "rank $OMPI_COMM_WORLD_RANK left with $?" >&2'
    log = os.path.join(path, "log")
    with open(log, "w", encoding="utf-8") as errors:
        process = subprocess.Popen([*MPIRUN, *LEAVE_SURVIVORS, "-n", "3", "sh", "-c", script, "sh", SLUICE,
                                    *map(str, arguments)], stdin=subprocess.DEVNULL, stderr=errors,
                                   stdout=subprocess.DEVNULL)
        try:
            harness.wait_for(lambda: checkpoints(folder), process)
            with open(log, encoding="utf-8") as file:
                shell = next(line.split()[3] for line in file if line.startswith("rank 2 is"))
            child = subprocess.run(["ps", "-o", "pid=", "--ppid", shell], capture_output=True, text=True, check=True)
            os.kill(int(child.stdout), signal.SIGKILL)
            process.wait(timeout=60)   # the survivors leave by themselves
        finally:
            process.kill()
    with open(log, encoding="utf-8") as file:
        text = file.read()
    check_in("rank 2", text.split("sluice: ", 1)[1])
    check_in("rank 0 left with 4", text)
    check_in("rank 1 left with 4", text)
    before = len(open(os.path.join(folder, "train.jsonl"), encoding="utf-8").readlines())
    step = int(os.path.basename(checkpoints(folder)[-1]).split("-")[1])
    more = train_arguments(data, folder, **settings(**harness.ENDLESS, train__max_steps=step + 5))
    outcome = run(*more)
    check_in(f"step {step}", outcome.err)
    check(metrics(folder)["steps"] == step + 5 and before > 0, str(outcome))


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
