"""Scores recomputed in NumPy from an exported file are those that predict gives, keys without a row included."""
import json
import os
import random
import subprocess
import sys

import numpy as np
from safetensors import safe_open

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import check, main, run

CONFIG = """
data: {format: csv, train: [%s], label: y}
features:
  a: {}
  b: {}
  x: {type: numeric, transform: standardise}
model: {preset: deepfm, dim: 4, mlp: [16, 8]}
tables: {default: {admission: {kind: count, count: 150}, on_missing: default, optimizer: {learning_rate: 0.1}}}
train: {batch_size: 100, epochs: 2}
threads: 2
"""


def test_scores_from_the_exported_file(folder):
    rng = random.Random(11)
    samples = [(rng.choice("0111"), f"a{int(rng.random() ** 3 * 60)}", f"b{rng.randrange(5)}", round(rng.gauss(1, 2), 3))
               for _ in range(4000)]
    with open(f"{folder}/data.csv", "w", encoding="ascii") as file:
        file.write("y,a,b,x\n" + "".join(f"{y},{a},{b},{x}\n" for y, a, b, x in samples))
    with open(f"{folder}/config.yaml", "w", encoding="ascii") as file:
        file.write(CONFIG % f"{folder}/data.csv")
    run("train", f"{folder}/config.yaml", "--run-dir", f"{folder}/run")
    run("export", f"{folder}/run", f"{folder}/model.safetensors")
    samples = samples[:300] + [("0", "never", "b1", 0.5)]
    with open(f"{folder}/score.csv", "w", encoding="ascii") as file:
        file.write("a,b,x\n" + "".join(f"{a},{b},{x}\n" for _, a, b, x in samples))
    scores = np.array(run("predict", f"{folder}/run", f"{folder}/score.csv").out.split("\n")[1:-1], float)

    with safe_open(f"{folder}/model.safetensors", framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    feature = next(f for f in json.loads(metadata["features"])["features"] if f["name"] == "x")
    fields = {f["name"]: f for f in json.loads(metadata["fields"])}
    rows = dict(zip((int(k) for k in tensors["embedding/keys"]), tensors["embedding/weights"].astype(float)))
    known, without_row = {}, 0
    expected = []
    for _, a, b, x in samples:
        vectors = []
        for name, value in (("a", a), ("b", b)):
            if (name, value) not in known:
                text = subprocess.run([os.environ["SLUICE_BIN"], "inspect", f"{folder}/run", "--key",
                                                     f"{name}={value}", "--json"], capture_output=True, text=True)
                known[name, value] = int(json.loads(text.stdout)[0]["key"], 16) if text.returncode == 0 else None
            key = known[name, value]
            without_row += key is None
            vectors.append(rows[int(fields[name]["default_row"], 16) if key is None else key])
        dense = np.array([(x - feature["mean"]) / feature["deviation"]])
        hidden = np.concatenate([vectors[0][1:], vectors[1][1:], dense])
        for layer in range(3):
            hidden = hidden @ tensors[f"deep/layer{layer}/weight"].astype(float) + tensors[f"deep/layer{layer}/bias"]
            hidden = np.maximum(hidden, 0) if layer < 2 else hidden
        logit = (tensors["output/bias"][0] + vectors[0][0] + vectors[1][0] + vectors[0][1:] @ vectors[1][1:]
                 + dense @ tensors["linear_dense/weight"].ravel() + hidden[0])
        expected.append(1 / (1 + np.exp(-logit)))
    check(without_row > 10, f"{without_row} keys without a row are too few to tell")
    difference = np.abs(np.array(expected) - scores).max()
    check(difference < 2e-6, f"scores differ by {difference}")


main(sys.modules[__name__])
