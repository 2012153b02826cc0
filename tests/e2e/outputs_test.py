"""What is written is whole or not there; devices are written to, never replaced; one run at a time in a run folder."""
import os
import random
import signal
import stat
import sys

from harness import (ENDLESS, check, check_in, digest, finish, last_step, leftovers, main, run, start, train_arguments,
                     wait_for, write_criteo)

CSV = """
data: {format: csv, train: [%s], label: y, split: {kind: hash, fraction: 0.2}}
features: {a: {}, b: {}, x: {type: numeric, transform: quantile, buckets: 8}}
model: {preset: fm, dim: 4}
train: {batch_size: 100}
threads: 2
"""


def write_csv(path, samples=3000):
    rng = random.Random(7)
    with open(path, "w", encoding="ascii") as file:
        file.write("id,y,a,b,x\n")
        for i in range(samples):
            a, b = rng.randrange(6), rng.randrange(6)
            file.write(f"r{i},{int(rng.random() < (0.8 if (a + b) % 2 else 0.2))},a{a},b{b},{rng.gauss(0, 1):.3f}\n")
    return path


def write_config(folder):
    data = write_csv(f"{folder}/data.csv")
    with open(f"{folder}/config.yaml", "w", encoding="ascii") as file:
        file.write(CSV % data)
    return f"{folder}/config.yaml"


def test_devices_stay_devices(folder):
    config = write_config(folder)
    run("train", config, "--run-dir", f"{folder}/run")
    data = f"{folder}/data.csv"
    run("predict", f"{folder}/run", data, "-o", "/dev/null")
    for verb in (["predict", f"{folder}/run", data, "-o"], ["pack", config, "-o"], ["init", data, "-o"],
                 ["synth", "--samples", 100, "--output"], ["eval", f"{folder}/run", "--json"]):
        check_in("No space left", run(*verb, "/dev/full", code=3).err)
    run("export", f"{folder}/run", "/dev/full", code=3)
    for device in ("/dev/null", "/dev/full"):
        check(stat.S_ISCHR(os.stat(device).st_mode), f"{device} was replaced")
    check(not [name for name in os.listdir("/dev") if name.startswith(("full.", "null."))], "something lies in /dev")


def test_predictions_are_whole_or_not_there(folder):
    run("train", write_config(folder), "--run-dir", f"{folder}/run")
    with open(f"{folder}/data.csv", encoding="ascii") as file:
        lines = file.readlines()
    lines[2900] = "r,1,a1,b1,nan\n"
    with open(f"{folder}/bad.csv", "w", encoding="ascii") as file:
        file.writelines(lines)
    scores = f"{folder}/scores.txt"
    check_in("bad.csv:2901: column 5", run("predict", f"{folder}/run", f"{folder}/bad.csv", "-o", scores, code=3).err)
    check(not os.path.exists(scores), "half a file of scores")
    run("predict", f"{folder}/run", f"{folder}/data.csv", "-o", scores)
    with open(scores, encoding="ascii") as file:
        whole = file.read()
    check(whole.count("\n") == 3001)
    run("predict", f"{folder}/run", f"{folder}/bad.csv", "-o", scores, code=3)
    with open(scores, encoding="ascii") as file:
        check(file.read() == whole, "a failed prediction touched the scores of the one before")
    check(not leftovers(folder), f"left behind: {leftovers(folder)}")


def test_one_run_at_a_time_in_a_folder(folder):
    data = write_criteo(f"{folder}/train.tsv", 3000)
    arguments = train_arguments(data, f"{folder}/run", log__every_steps=1, **ENDLESS)
    first = start(*arguments)
    wait_for(lambda: os.path.exists(f"{folder}/run/train.jsonl"), first)
    second = run(*arguments, code=2)
    check_in("another process trains in this folder", second.err)
    first.send_signal(signal.SIGINT)
    outcome = finish(first)
    check(outcome.code == 130, f"the first run was disturbed: {outcome}")
    run(*train_arguments(data, f"{folder}/alone", train__max_steps=last_step(f"{folder}/run"), **ENDLESS))
    check(digest(f"{folder}/run") == digest(f"{folder}/alone"), "the first run was disturbed")


def test_a_model_of_text_reads_packed_files(folder):
    config = write_config(folder)
    run("train", config, "--run-dir", f"{folder}/run")
    for part in ("train", "eval"):
        run("pack", config, "--part", part, "-o", f"{folder}/{part}.sluice")
    check(run("eval", f"{folder}/run").out == run("eval", f"{folder}/run", f"{folder}/eval.sluice").out)
    run("train", config, "--run-dir", f"{folder}/packed", "--set", f"data.train=[{folder}/train.sluice]",
        "--set", f"data.eval=[{folder}/eval.sluice]", "--set", "data.split.kind=none")
    check(digest(f"{folder}/run") == digest(f"{folder}/packed"), "packed files give another model")


def test_a_folder_where_a_run_was_killed_at_its_birth(folder):
    config = write_config(folder)
    os.mkdir(f"{folder}/run")
    with open(f"{folder}/run/config.yaml.tmp-123", "w", encoding="ascii") as file:
        file.write("data:")
    run("train", config, "--run-dir", f"{folder}/run")


main(sys.modules[__name__])
