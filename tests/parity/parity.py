"""Trains one model with the program and with JAX on the same batches from the same start, and compares all that is left.

The start is read from a checkpoint that the program writes after a pass with learning rate 0: initial rows are functions
of seed and key, so another run starts from the same ones. The row of a value is found with `inspect --key`.
"""
import atexit
import functools
import json
import os
import random
import re
import shutil
import subprocess
import tempfile

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

import models
import optimizers

SLUICE = os.environ.get("SLUICE_BIN", "build/sluice")
SAMPLES, BATCH = 400, 16
LABELS = ["label", "second", "target"]   # the last one is a number
NUMERIC = ["x0", "x1", "x2"]
# Name, values, largest number of keys in a sample (1: one-hot), weighted. A sample without keys in a multi-valued field
# has the key of a missing value, which is the empty text's: the value after the last.
FIELDS = [("color", 7, 1, False), ("city", 12, 1, False), ("tags", 9, 4, False), ("words", 8, 3, True)]


def run(*arguments):
    # bf16 runs multiply in bf16 whatever the processor.
    done = subprocess.run([SLUICE, *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "SLUICE_BF16_PRODUCTS": "1"})
    if done.returncode != 0:
        raise AssertionError(f"sluice {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def num_values(f):
    return FIELDS[f][1] + (FIELDS[f][2] > 1)


def text_of(f, value):
    return f"v{value}" if value < FIELDS[f][1] else ""


def write_data(path, samples, seed):
    """A CSV file and the same samples as Python values."""
    rng = random.Random(seed)
    effects = random.Random(77)
    effect = [[effects.gauss(0, 1) for _ in range(num_values(f))] for f in range(len(FIELDS))]
    rows = []
    with open(path, "w", encoding="ascii") as file:
        file.write(",".join([*LABELS, *NUMERIC, *(name for name, *_ in FIELDS)]) + "\n")
        for _ in range(samples):
            x = [rng.randrange(-200, 201) / 128 for _ in NUMERIC]
            occurrences, logit = [], 0.5 * x[0] - 0.3 * x[1] * x[2]
            for f, (_, values, most, weighted) in enumerate(FIELDS):
                count = 1 if most == 1 else rng.randrange(0, most + 1)
                keys = [min(int(values * rng.random() ** 2), values - 1) for _ in range(count)]
                occurrences.append([(key, rng.randrange(1, 9) / 4 if weighted else 1.0) for key in keys])
                if not keys:
                    occurrences[-1] = [(values, 1.0)]
                logit += sum(weight * effect[f][key] for key, weight in occurrences[-1])
            label = int(rng.random() < 1 / (1 + np.exp(-logit)))
            cells = ["|".join(text_of(f, key) + (f":{weight}" if FIELDS[f][3] and text_of(f, key) else "")
                              for key, weight in field) for f, field in enumerate(occurrences)]
            labels = [label, int(x[0] + x[1] > 0), round(8 * (logit + x[2])) / 8]
            file.write(",".join([*map(str, labels), *map(repr, x), *cells]) + "\n")
            rows.append((labels, x, occurrences))
    return rows


def config_text(data, model, settings):
    features = "".join(f"  {name}: {{type: numeric}}\n" for name in NUMERIC)
    for name, _, most, weighted in FIELDS:
        features += (f"  {name}: {{type: categorical, multi: {str(most > 1).lower()}, "
                     f"weighted: {str(weighted).lower()}}}\n")
    labels = json.dumps(model.get("labels", ["label"]))
    model = {key: value for key, value in model.items() if key != "labels"}
    numbers = ", label_min: -100, label_max: 100" if model.get("loss") == "mse" else ""
    return (f"seed: 5\nthreads: 1\ndata: {{format: csv, train: [{data}], label: {labels}{numbers}}}\n"
            f"features:\n{features}"
            f"tables:\n  default: {{optimizer: {json.dumps(settings)}, init: {{kind: normal, scale: 0.1}}}}\n"
            f"model: {json.dumps(model)}\noptimizer: {json.dumps(settings)}\n"
            f"train: {{batch_size: {BATCH}, epochs: 1000}}\n")


@functools.lru_cache(maxsize=None)
def workplace():
    """Folder, samples, and the 64-bit key of every (field, value)."""
    folder = tempfile.mkdtemp(prefix="sluice-parity-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rows = write_data(f"{folder}/train.csv", SAMPLES, seed=3)
    write_data(f"{folder}/test.csv", 2000, seed=4)
    return folder, rows


class Program:
    """One run of the program and what its last checkpoint holds."""

    def __init__(self, model, settings, steps, precision="fp64", extra=(), ranks=1):
        folder, _ = workplace()
        self.run_dir = tempfile.mkdtemp(dir=folder)
        config = f"{self.run_dir}/config-in.yaml"
        with open(config, "w", encoding="ascii") as file:
            file.write(config_text(f"{folder}/train.csv", model, settings))
        self.run_dir += "/run"
        sets = [f"precision={precision}", f"train.max_steps={steps}", *extra]
        several = ["--ranks", ranks] if ranks > 1 else []
        run("train", config, "--run-dir", self.run_dir, *several, *(part for s in sets for part in ("--set", s)))

    def tensors(self):
        out = self.run_dir + "/model.safetensors"
        run("export", self.run_dir, out, "--slots")
        return load_file(out)


@functools.lru_cache(maxsize=None)
def keys():
    """{(field, value): key} as the program hashes them, from a model that has seen every value."""
    program = Program({"preset": "lr"}, {"name": "sgd", "learning_rate": 0.0}, steps=SAMPLES // BATCH)
    found = {}
    for f, (name, *_) in enumerate(FIELDS):
        for value in range(num_values(f)):
            text = run("inspect", program.run_dir, "--key", f"{name}={text_of(f, value)}")
            found[f, value] = int(re.search(r"0x[0-9a-f]{1,16}", text).group(), 16)
    assert len(set(found.values())) == len(found), "two values share a key"
    return found


@functools.lru_cache(maxsize=None)
def batches():
    """All batches of an epoch as arrays [batches, BATCH, ...], and which rows each touches."""
    _, rows = workplace()
    first, row_of = 0, {}
    for f in range(len(FIELDS)):
        for value in range(num_values(f)):
            row_of[f, value] = first + value
        first += num_values(f)
    count = SAMPLES // BATCH
    labels = np.array([r[0] for r in rows], float).reshape(count, BATCH, -1)
    batch = {"y": {name: jnp.array(labels[:, :, l]) for l, name in enumerate(LABELS)},
             "x": np.array([r[1] for r in rows]).reshape(count, BATCH, -1), "index": [], "weight": [], "present": []}
    touched = np.zeros((count, first), bool)
    for f, (_, _, most, _) in enumerate(FIELDS):
        index, weight, present = np.zeros((SAMPLES, most), int), np.ones((SAMPLES, most)), np.zeros((SAMPLES, most))
        for i, (_, _, occurrences) in enumerate(rows):
            for j, (key, w) in enumerate(occurrences[f]):
                index[i, j], weight[i, j], present[i, j] = row_of[f, key], w, 1
                touched[i // BATCH, row_of[f, key]] = True
        for name, array in (("index", index), ("weight", weight), ("present", present)):
            batch[name].append(jnp.array(array.reshape(count, BATCH, most)))
    batch["x"] = jnp.array(batch["x"])
    return batch, jnp.array(touched), row_of


def arrange(tensors):
    """Dense parameters, their slots among them as slot0/NAME; tables with rows in the order of batches(); slots likewise."""
    _, _, row_of = batches()
    dense, tables, slots = {}, {}, {}
    names = [name[:-len("/keys")] for name in tensors if name.endswith("/keys")]
    for name in names:
        at = {int(key): i for i, key in enumerate(tensors[name + "/keys"])}
        order = [None] * len(row_of)
        for field_value, row in row_of.items():
            order[row] = at[keys()[field_value]]
        assert len(at) == len(row_of), f"table {name} holds {len(at)} rows, not {len(row_of)}"
        tables[name] = jnp.array(tensors[name + "/weights"][order].astype(np.float64))
        slots[name] = jnp.array(tensors[name + "/slots"][order].astype(np.float64))
    for name, value in tensors.items():
        if name.split("/")[0] not in names and not name.startswith("buffer/"):
            dense[name] = jnp.array(value.astype(np.float64))
    return dense, tables, slots


@functools.partial(jax.jit, static_argnames=("model", "options", "rule"))
def train_jax(model, options, rule, steps, dense, tables):
    options = dict(options)
    settings = dict(optimizers.DEFAULTS, **dict(rule))
    batch_arrays, touched, _ = batches()
    count = touched.shape[0]
    row = lambda value: value.reshape(1, -1)
    dense_slots = {k: optimizers.init_slots(settings, row(v), row_wise=False) for k, v in dense.items()}
    table_slots = {k: optimizers.init_slots(settings, v) for k, v in tables.items()}

    def step(t, state):
        dense, tables, dense_slots, table_slots, last_use = state
        batch = jax.tree.map(lambda a: a[(t - 1) % count], batch_arrays)
        grads = jax.grad(lambda d, w: models.loss(model, d, w, batch, options), argnums=(0, 1))(dense, tables)
        new_dense, new_dense_slots, new_tables, new_table_slots = {}, {}, {}, {}
        for k, w in dense.items():
            new, new_dense_slots[k] = optimizers.apply_dense(settings, t, row(w), row(grads[0][k]), dense_slots[k])
            new_dense[k] = new.reshape(w.shape)
        for k, w in tables.items():
            new_tables[k], new_table_slots[k] = optimizers.apply_rows(settings, t, w, grads[1][k], table_slots[k],
                                                                      touched[(t - 1) % count], t - 1 - last_use)
        last_use = jnp.where(touched[(t - 1) % count], t, last_use)
        return new_dense, new_tables, new_dense_slots, new_table_slots, last_use

    last_use = jnp.zeros(touched.shape[1])   # of rows never seen: their slots are zero, which nothing decays
    return jax.lax.fori_loop(1, steps + 1, step, (dense, tables, dense_slots, table_slots, last_use))


def options_of(model):
    """What a model's function and loss depend on beside arrays, hashable."""
    return (("pooling", model.get("pooling", "sum")), ("loss", model.get("loss", "bce")),
            ("labels", tuple(model.get("labels", ["label"]))))


def largest_difference(ours, theirs):
    """Largest |a - b| of each array over the array's largest |b|, as (difference, name)."""
    worst = (0.0, "nothing")
    for name, b in theirs.items():
        a, b = np.asarray(ours[name]), np.asarray(b)
        assert a.shape == b.shape, f"{name}: shapes {a.shape} and {b.shape}"
        assert np.all(np.isfinite(a)) and np.all(np.isfinite(b)), f"{name} is not finite"
        scale = np.max(np.abs(b)) if b.size else 0.0
        if scale > 0:
            worst = max(worst, (float(np.max(np.abs(a - b)) / scale), name))
        else:
            assert not np.any(a), f"{name} is zero in JAX only"
    return worst


@functools.lru_cache(maxsize=None)
def start_of(model_json):
    """Initial dense parameters and tables: what is left of an epoch with learning rate 0."""
    still = {"name": "sgd", "learning_rate": 0.0}
    dense, tables, _ = arrange(Program(json.loads(model_json), still, steps=SAMPLES // BATCH).tensors())
    return dense, tables


def compare(model, settings, steps, precision="fp64", ranks=1, extra=()):
    """(largest relative difference, where it is) after `steps` steps, and how far training moved the parameters."""
    options = options_of(model)
    dense, tables = start_of(json.dumps(model))
    program = Program(model, settings, steps, precision, extra, ranks)
    if steps < SAMPLES // BATCH:   # rows that a short run has not seen are not there
        return compare_short(program, model, options, settings, steps, dense, tables)
    ours_dense, ours_tables, ours_slots = arrange(program.tensors())
    theirs = train_jax(model["preset"], options, tuple(sorted(settings.items())), steps, dense, tables)
    slots = {k: jnp.concatenate(v, axis=1) if v else jnp.zeros((tables[k].shape[0], 0)) for k, v in theirs[3].items()}
    dense_slots = {f"slot{s}/{k}": slot.reshape(dense[k].shape) for k, v in theirs[2].items() for s, slot in enumerate(v)}
    worst = max(largest_difference(ours_dense, theirs[0]), largest_difference(ours_dense, dense_slots),
                largest_difference(ours_tables, theirs[1]), largest_difference(ours_slots, slots))
    moved = max(largest_difference(dense, theirs[0])[0], largest_difference(tables, theirs[1])[0])
    return worst, moved


def compare_short(program, model, options, settings, steps, dense, tables):
    tensors = program.tensors()
    theirs = train_jax(model["preset"], options, tuple(sorted(settings.items())), steps, dense, tables)
    _, touched, row_of = batches()
    seen = np.asarray(touched[:steps]).any(axis=0)
    ours = {k: v.astype(np.float64) for k, v in tensors.items() if k in theirs[0]}
    worst = largest_difference(ours, theirs[0])
    for name, rows in theirs[1].items():
        at = {int(key): i for i, key in enumerate(tensors[name + "/keys"])}
        assert len(at) == seen.sum(), f"table {name} holds {len(at)} rows, not the {seen.sum()} seen"
        known = [(row, at[keys()[fv]]) for fv, row in row_of.items() if seen[row]]
        worst = max(worst, largest_difference(
            {name: tensors[name + "/weights"][[i for _, i in known]].astype(np.float64)},
            {name: np.asarray(rows)[[row for row, _ in known]]}))
    return worst, largest_difference(tables, theirs[1])[0]


class Cases:
    """What tests of many cases share; mixed into a unittest.TestCase. `cases()`: name, model, settings of the optimizer,
    and what else compare() takes, of each."""

    def check(self, steps, precision, bound):
        for name, model, settings, *more in self.cases():
            with self.subTest(case=name):
                (difference, where), moved = compare(model, settings, steps, precision, *more)
                print(f"{name}: {steps} steps in {precision}: {difference:.1e} ({where}); training moved {moved:.1e}",
                      flush=True)
                self.assertLess(difference, bound, where)
                self.assertGreater(moved, 1e-2, "training changed nothing: the comparison means nothing")

    def test_thousand_steps_in_float64(self):
        self.check(1000, "fp64", 1e-10)

    def test_ten_steps_in_float32(self):
        self.check(10, "fp32", 1e-5)
