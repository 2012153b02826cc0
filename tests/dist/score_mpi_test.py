"""eval and predict by ranks that are processes: what one process says, to the byte, and the loss of a rank."""
import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import SLUICE, check, check_in, run, train_arguments, wait_for, write_criteo  # noqa: E402

MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe"]


def trained(path, **more):
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    folder = os.path.join(path, "run")
    settings = {"data__split__kind": "tail", "threads": 1, "strategy__timeout_s": 60, **more}
    run(*train_arguments(data, folder, **settings))
    return data, folder


def read(path):
    with open(path, "rb") as file:
        return file.read()


def mpirun(ranks, *arguments):
    process = subprocess.run([*MPIRUN, "-n", str(ranks), SLUICE, *map(str, arguments)], capture_output=True, text=True,
                             timeout=120, check=False)
    check(process.returncode == 0, process.stderr)
    return process


def test_metrics_are_those_of_one_process_to_the_bit(path):
    _, folder = trained(path)
    files = {name: os.path.join(path, f"{name}.json") for name in ["one", "mpirun", "launch", "threads"]}
    told = run("eval", folder, "--json", files["one"]).out
    outputs = [mpirun(3, "eval", folder, "--json", files["mpirun"]).stdout,
               run("launch", "-n", 4, "eval", folder, "--json", files["launch"]).out,
               run("eval", folder, "--ranks", 2, "--json", files["threads"]).out]
    check(all(output == told for output in outputs), f"{told} and {outputs}")
    expected = json.loads(read(files["one"]))
    for name in ["mpirun", "launch", "threads"]:
        got = json.loads(read(files[name]))
        for metric in ["auc", "logloss", "ne", "calibration", "eval_samples"]:
            check(got[metric] == expected[metric], f"{name}: {metric} {got[metric]}, not {expected[metric]}")


def test_scores_are_those_of_one_process_in_their_order(path):
    data, folder = trained(path)
    scores = {name: os.path.join(path, f"{name}.tsv") for name in ["one", "mpirun", "launch"]}
    options = ["--column", "label", "--column", "C3"]
    run("predict", folder, data, "-o", scores["one"], *options)
    expected = read(scores["one"])
    check(expected.count(b"\n") == 3001, str(expected[:200]))
    mpirun(3, "predict", folder, data, "-o", scores["mpirun"], *options)
    run("launch", "-n", 2, "predict", folder, data, "-o", scores["launch"], *options)
    for name in ["mpirun", "launch"]:
        check(read(scores[name]) == expected, f"{name}: other scores")
    out = run("launch", "-n", 3, "predict", folder, data, *options, "--quiet").out
    check(out.encode() == expected, f"standard output differs: {out[:300]}")
    check(not [name for name in os.listdir(path) if ".tmp" in name], os.listdir(path))


def test_what_ranks_cannot_do_is_refused(path):
    data, folder = trained(path)
    check_in("standard input", run("launch", "-n", 2, "predict", folder, code=2).err)
    check_in("-n: how many ranks", run("launch", "eval", folder, code=2).err)
    check_in("stands before the verb", run("launch", "-n", 2, data, "eval", folder, code=2).err)
    check_in("unknown option --jsn; did you mean --json?", run("launch", "-n", 2, "eval", folder, "--jsn", 1, code=2).err)
    check_in("absent.tsv", run("launch", "-n", 2, "eval", folder, os.path.join(path, "absent.tsv"), code=3).err)
    check_in("--output", run("launch", "predict", "--help").out)
    other = write_criteo(os.path.join(path, "other.tsv"), 200)
    process = subprocess.run([*MPIRUN, "-n", "1", SLUICE, "eval", folder, data, ":", "-n", "1", SLUICE, "eval", folder,
                              other], capture_output=True, text=True, timeout=60, check=False)
    check(process.returncode == 2, process.stderr)
    check_in("rank 1: its configuration is not that of rank 0", process.stderr)


def children(pid):
    """Processes below `pid`, by their command lines."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
            found[int(name)] = (parent, read(f"/proc/{name}/cmdline").split(b"\0"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    below = {pid}
    while True:
        more = {child for child, (parent, _) in found.items() if parent in below} - below
        if not more:
            return {child: found[child][1] for child in below if child in found}
        below |= more


def ranks_of(process):
    return sorted(pid for pid, line in children(process.pid).items()
                  if len(line) > 1 and line[1] == b"predict" and os.path.basename(line[0]) == b"sluice")


def start_long_prediction(path):
    data, folder = trained(path, strategy__timeout_s=5)
    output, long = os.path.join(path, "scores.tsv"), os.path.join(path, "long.tsv")
    with open(long, "wb") as file:
        file.write(read(data) * 20)
    process = harness.start("launch", "-n", 3, "predict", folder, *[long] * 200, "-o", output)
    wait_for(lambda: len(ranks_of(process)) == 3 and any("scores.tsv" in name and
                                                         os.path.getsize(os.path.join(path, name)) > 1000
                                                         for name in os.listdir(path)), process)
    return process, output


def test_a_killed_rank_is_named_and_leaves_no_scores(path):
    process, output = start_long_prediction(path)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    outcome = harness.finish(process, timeout=60)
    check(outcome.code == 4, str(outcome))
    check_in("killed by signal 9", outcome.err)
    check(not os.path.exists(output), "half of the scores were left")


def test_an_interrupt_ends_all_ranks(path):
    process, output = start_long_prediction(path)
    process.send_signal(signal.SIGINT)
    outcome = harness.finish(process, timeout=60)
    check(outcome.code == 130, str(outcome))
    check(not os.path.exists(output), "half of the scores were left")


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
