"""Data and configurations of des_vs_ps."""
import itertools
import json
import os
import subprocess

import forms


def _command(arguments):
    subprocess.run([str(a) for a in arguments], check=True, stdout=subprocess.DEVNULL)


def _write_json(path, value):
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
    os.replace(path + ".new", path)
    return path


def data_of(sluice, folder, case):
    """The packed file of a case's data, made where it is not there yet; beside it .json, what the teacher reaches and how many
    unique keys a worker's batches hold. The text it is packed from is not kept."""
    kind, batch = case["kind"], case["batch"]
    name = f"{kind}-{case['samples']}-rows{case['rows']}-keys{case['keys']}-churn{case['churn']}-seed{case['seed']}"
    path = os.path.join(folder, name + ".sluice")
    counted = case.get("count_keys", [])
    about = os.path.join(folder, name + (f"-batch{batch}-workers{counted}" if counted else "") + ".json")
    if os.path.exists(path) and os.path.exists(about):
        return path, about
    text = os.path.join(folder, name + (".tsv" if kind == "criteo" else ".csv"))
    command = [sluice, "synth", "--output", text, "--samples", case["samples"], "--rows", case["rows"], "--seed", case["seed"],
               "--churn", case["churn"], "--skew", case["skew"], "--interaction", 0.3, "--tail", 0.5]
    if kind == "multi":
        command += ["--format", "csv", "--fields", forms.FIELDS, "--dense", forms.NUMBERS, "--keys-per-field", case["keys"]]
    _command(command)
    config = {"data": {"train": [text], "format": "criteo" if kind == "criteo" else "csv"}}
    if kind == "multi":
        config["data"]["label"] = ["label"]
        config["features"] = features_of(text)
    _command([sluice, "pack", _write_json(os.path.join(folder, name + ".yaml"), config), "-o", path + ".new.sluice"])
    os.replace(path + ".new.sluice", path)
    with open(text + ".json", encoding="utf-8") as file:
        teacher = json.load(file)
    _write_json(about, {"teacher": teacher, "keys": count_keys(text, batch, counted) if counted else {}})
    for left in (text, text + ".json", os.path.join(folder, name + ".yaml")):
        os.remove(left)
    return path, about


def features_of(path):
    """Of a csv of `sluice synth`: integer columns numeric, the others categorical, multi-valued where a cell has |."""
    with open(path, encoding="utf-8") as file:
        header = file.readline().rstrip("\n").split(",")
        cells = [file.readline().rstrip("\n").split(",") for _ in range(50)]
    features = {}
    for column, name in enumerate(header):
        if name == "label":
            continue
        if name.startswith("I"):
            features[name] = {"type": "numeric", "transform": "log"}
        else:
            multi = any("|" in row[column] for row in cells)
            features[name] = {"type": "categorical", **({"multi": True, "separator": "|"} if multi else {})}
    return features


def count_keys(path, batch, counts):
    """Per sample, of a csv whose batches go round the workers, {workers: ...}: unique keys within a batch, and those among them
    that its worker has not named before."""
    known = {workers: [set() for _ in range(workers)] for workers in counts}
    new = dict.fromkeys(counts, 0)
    with open(path, encoding="utf-8") as file:
        header = file.readline().rstrip("\n").split(",")
        columns = [c for c, name in enumerate(header) if name.startswith("C")]
        samples = unique = batches = 0
        while lines := list(itertools.islice(file, batch)):
            current = set()
            for line in lines:
                cells = line.rstrip("\n").split(",")
                for c in columns:
                    current.update([(c, key) for key in cells[c].split("|")])
            for workers in counts:
                session = known[workers][batches % workers]
                new[workers] += len(current - session)
                session |= current
            samples, unique, batches = samples + len(lines), unique + len(current), batches + 1
    return {str(workers): {"unique": unique / samples, "new": new[workers] / samples} for workers in counts}


def write_config(path, case, data):
    """A configuration; every sample is scored before it is trained on. JSON is YAML."""
    table_rate, dense_rate = case["rates"]
    return _write_json(path, {
        "name": os.path.basename(path), "threads": 0, "data": {"train": [data]},
        "model": {"preset": case["model"], "dim": case["dim"], "mlp": case["mlp"]},
        "tables": {"default": {"optimizer": {"name": "adagrad", "learning_rate": table_rate, "initial_accumulator": 0.1},
                               "init": {"kind": "uniform", "scale": 0.01}}},
        "optimizer": {"name": "adagrad", "learning_rate": dense_rate, "initial_accumulator": 0.1},
        "train": {"batch_size": case["batch"], "progressive": {"window": 2500}},
    })
