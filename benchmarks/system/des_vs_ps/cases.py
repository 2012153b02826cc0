"""What des_vs_ps runs: data, models and the three parts, in a small, a quick and a full form."""
import json
import os
import subprocess

MODELS = ("lr", "fm", "wide_deep", "deepfm")
FIELDS = 10   # of multi-hot data

# Keys arrive and leave all the time (churn); the teacher's own AUC is known; lines are in time order.
FORMS = {
    "small": {
        "multi": {"samples": 30000, "rows": 100000, "keys_per_field": 20, "churn": 2, "batch": 1024},
        "criteo": {"samples": 200000, "rows": 200000, "churn": 2, "batch": 2048},
        "seeds": 5, "ranks": 2, "link": "1Gbit", "dim": 8, "mlp": [200, 80],
        "surface": {"keys": [1, 4, 16], "ranks": [2, 4], "links": [None, "100Mbit"], "samples": 12000, "models": ["deepfm"]},
        "staleness": {"workers": [1, 2, 4], "pull_ahead": [0, 4], "seeds": 3, "samples": 100000, "models": ["wide_deep"]},
    },
    "quick": {
        "multi": {"samples": 60000, "rows": 200000, "keys_per_field": 20, "churn": 2, "batch": 2048},
        "criteo": {"samples": 300000, "rows": 500000, "churn": 2, "batch": 4096},
        "seeds": 5, "ranks": 2, "link": "1Gbit", "dim": 8, "mlp": [200, 80],
        "surface": {"keys": [1, 4, 16], "ranks": [2, 4], "links": [None, "1Gbit", "100Mbit"], "samples": 24000,
                    "models": ["deepfm"]},
        "staleness": {"workers": [1, 2, 4], "pull_ahead": [0, 1, 4], "seeds": 3, "samples": 120000, "models": ["wide_deep"]},
    },
    "full": {
        "multi": {"samples": 600000, "rows": 2000000, "keys_per_field": 20, "churn": 2, "batch": 4096},
        "criteo": {"samples": 5000000, "rows": 4000000, "churn": 2, "batch": 8192},
        "seeds": 7, "ranks": 2, "link": "1Gbit", "dim": 16, "mlp": [400, 400, 400],
        "surface": {"keys": [1, 2, 4, 8, 16, 32], "ranks": [2, 4, 8], "links": [None, "10Gbit", "1Gbit", "100Mbit"],
                    "samples": 200000, "models": ["lr", "fm", "deepfm"]},
        "staleness": {"workers": [1, 2, 4], "pull_ahead": [0, 1, 2, 4], "seeds": 5, "samples": 1000000,
                      "models": ["wide_deep", "deepfm"]},
    },
}
# Presets that compute the same model by other exchanges, and the asynchronous one.
PRESETS = "des,des_rs,field_a2a,rows_a2a,auto,ps-async"


def make_data(sluice, folder, kind, seed, samples, keys=None, **shape):
    """The file of a data set, which is made where it is not there yet."""
    name = f"{kind}-{samples}-{shape['rows']}-{keys or shape.get('keys_per_field', 1)}-seed{seed}"
    path = os.path.join(folder, name + (".tsv" if kind == "criteo" else ".csv"))
    if not os.path.exists(path):
        command = [sluice, "synth", "--output", path, "--samples", samples, "--rows", shape["rows"], "--seed", seed, "--churn",
                   shape["churn"], "--interaction", 0.3]
        if kind == "multi":
            command += ["--format", "csv", "--fields", FIELDS, "--dense", 4, "--skew", 4, "--keys-per-field",
                        keys or shape["keys_per_field"]]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return path


def write_config(folder, name, data, model, form, batch):
    """A configuration; every sample is scored before it is trained on. JSON is YAML."""
    one_hot = data.endswith(".tsv")   # the sum of many keys takes smaller steps
    config = {
        "name": name, "threads": 0,
        "data": {"train": [data], "format": "criteo" if data.endswith(".tsv") else "csv"},
        "model": {"preset": model, "dim": form["dim"], "mlp": form["mlp"]},
        "tables": {"default": {"optimizer": {"name": "adagrad", "learning_rate": 0.05 if one_hot else 0.01, "initial_accumulator": 0.1},
                               "init": {"kind": "uniform", "scale": 0.01}}},
        "optimizer": {"name": "adagrad", "learning_rate": 0.02 if one_hot else 0.01, "initial_accumulator": 0.1},
        "train": {"batch_size": batch, "progressive": {"window": 20000}},
    }
    if data.endswith(".csv"):
        config["data"]["label"] = ["label"]
        config["features"] = features_of(data)
    path = os.path.join(folder, name + ".yaml")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    return path


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
