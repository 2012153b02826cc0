"""A model that starts from another one keeps how its fields were made; what does not fit is named; names that mean nothing
are refused."""
import json
import math
import random
import sys

from harness import check, check_in, main, metrics, run

CONFIG = """
data: {format: csv, train: [%s], eval: [%s], label: y}
features:
  a: {}
  b: {}
  q: {type: numeric, column: x, transform: quantile, buckets: 10}
  x: {type: numeric, transform: standardise}
  axb: {type: cross, crosses: [a, b]}
model: {preset: deepfm, dim: 4, mlp: [16]}
train: {batch_size: 200, epochs: 3}
tables: {default: {optimizer: {learning_rate: 0.1}}}
threads: 2
"""
STILL = ["train.epochs=1", "train.max_steps=1", "optimizer.learning_rate=1e-12",
         "tables.default.optimizer.learning_rate=1e-12"]


def write_csv(path, samples, low, high, seed):
    """Two categories whose sum's parity matters, and a number from [low, high) whose sine does."""
    rng = random.Random(seed)
    with open(path, "w", encoding="ascii") as file:
        file.write("y,a,b,x\n")
        for _ in range(samples):
            a, b, x = rng.randrange(6), rng.randrange(6), rng.uniform(low, high)
            logit = 3 * math.sin(2 * x) + (1 if (a + b) % 2 else -1) - 1
            file.write(f"{int(rng.random() < 1 / (1 + math.exp(-logit)))},a{a},b{b},{x:.4f}\n")
    return path


def train(folder, name, *settings, config="config", code=0):
    arguments = ["train", f"{folder}/{config}.yaml", "--run-dir", f"{folder}/{name}"]
    for setting in settings:
        arguments += ["--set", setting]
    return run(*arguments, code=code)


def prepare(folder):
    wide = write_csv(f"{folder}/wide.csv", 8000, -3, 3, 1)
    narrow = write_csv(f"{folder}/narrow.csv", 4000, 0, 3, 2)
    for name, data in (("config", wide), ("narrow", narrow)):
        with open(f"{folder}/{name}.yaml", "w", encoding="ascii") as file:
            file.write(CONFIG % (data, data))
    train(folder, "old")
    return narrow


def test_fields_are_made_as_they_were(folder):
    narrow = prepare(folder)
    run("eval", f"{folder}/old", narrow, "--json", f"{folder}/old.json")
    with open(f"{folder}/old.json", encoding="utf-8") as file:
        expected = json.load(file)["auc"]
    # Quantiles and means of the new data are others; with those the rows and weights would mean something else.
    train(folder, "warm", f"checkpoint.init_from={folder}/old", *STILL, config="narrow")
    found = metrics(f"{folder}/warm")["auc"]
    check(abs(found - expected) < 1e-4, f"the old model has AUC {expected} on the new data, the new start {found}")
    train(folder, "anew", *STILL, config="narrow")
    check(metrics(f"{folder}/anew")["auc"] < expected - 0.05, "the data does not tell a warm start from a new one")


def test_what_does_not_fit_is_named(folder):
    prepare(folder)
    start = f"checkpoint.init_from={folder}/old"
    check_in("field q (numeric, transform quantile of 10 buckets there",
             train(folder, "a", start, "features.q.buckets=12", code=2).err)
    check_in("field x (numeric, transform standardise there", train(folder, "b", start, "features.x.transform=log", code=2).err)
    train(folder, "c", start, "features.q.buckets=12", "checkpoint.warm_start.allow_misfit=true")
    check_in("has no field, table or parameter nonsense",
             train(folder, "d", start, "checkpoint.warm_start.drop=[nonsense]", code=2).err)
    check_in("this model has the field a too", train(folder, "e", start, "checkpoint.warm_start.drop=[a]", code=2).err)
    check_in("new slots for the dense net, table embedding",
             train(folder, "f", start, "optimizer.name=adam", "tables.default.optimizer.name=adam", *STILL).err)
    check_in("left behind table embedding", train(folder, "g", start, "model.preset=lr", *STILL).err)


def test_settings_that_would_be_lost_are_refused(folder):
    prepare(folder)
    check_in("bce needs labels in [0, 1]", train(folder, "labels", "data.label_max=5", code=2).err)
    check_in("max_rows: must be 1024 or more", train(folder, "rows", "tables.default.expiry.max_rows=60", code=2).err)
    error = train(folder, "run", "tables.defaultt.on_missing=zero", code=2).err
    check_in("tables.defaultt", error)
    check_in("default, embedding", error)


def test_inspect_finds_the_row_of_a_cross(folder):
    prepare(folder)
    rows = json.loads(run("inspect", f"{folder}/old", "--key", "axb=a1,b2", "--json").out)
    with open(f"{folder}/wide.csv", encoding="ascii") as file:
        seen = sum(",a1,b2," in line for line in file)
    check(rows[0]["count"] == 3 * seen, f"{rows[0]['count']} sightings where {3 * seen} are expected")
    check_in("crosses a, b", run("inspect", f"{folder}/old", "--key", "axb=a1", code=2).err)
    check_in("its fields are: a, b, q, axb", run("inspect", f"{folder}/old", "--key", "nothing=1", code=3).err)


def test_metrics_before_training_are_of_all_samples_where_negatives_are_left_out(folder):
    prepare(folder)
    train(folder, "run", "data.negative_keep_rate=0.2", "train.epochs=20", "train.progressive.window=2000")
    with open(f"{folder}/run/train.jsonl", encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    windows = [event for event in events if event["event"] == "window"]
    base_rate = sum(int(line[0]) for line in open(f"{folder}/wide.csv", encoding="ascii").readlines()[1:]) / 8000
    check(abs(windows[-2]["base_rate"] - base_rate) < 0.04, f"base rate {base_rate}, window {windows[-2]}")
    check(abs(windows[-2]["calibration"] - 1) < 0.15, str(windows[-2]))
    evaluation = metrics(f"{folder}/run")
    check(abs(evaluation["calibration"] - 1) < 0.1, f"calibration {evaluation['calibration']}")
    whole = [event for event in events if event["event"] == "progressive"]
    check(len(whole) == 1 and sum(window["samples"] for window in windows) == whole[0]["samples"],
          "the windows do not add up to the whole stream")
    check(evaluation["progressive_auc"] == whole[0]["auc"])


main(sys.modules[__name__])
