"""Python's safetensors opens what export writes, and finds in it what the file's bytes say."""
import json
import os
import struct
import sys

import numpy
from safetensors import safe_open

from harness import check, check_in, main, metrics, run, train_arguments, write_criteo

NUMPY_TYPES = {"F32": numpy.float32, "U64": numpy.uint64, "F64": numpy.float64}


def read_by_hand(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__")
    return metadata, {name: numpy.frombuffer(data[slice(*tensor["data_offsets"])], NUMPY_TYPES[tensor["dtype"]])
                      .reshape(tensor["shape"]) for name, tensor in header.items()}


def test_export_opens_and_holds_every_row(folder):
    data = write_criteo(f"{folder}/train.tsv", 3000)
    run_dir, path = f"{folder}/run", f"{folder}/model.safetensors"
    run(*train_arguments(data, run_dir))
    run("export", run_dir, path, "--slots")
    metadata, by_hand = read_by_hand(path)
    check(metadata["format"] == "sluice", metadata)
    rows = 0
    with safe_open(path, framework="numpy") as tensors:
        check(sorted(tensors.keys()) == sorted(by_hand), "the two readers see different tensors")
        for name in tensors.keys():
            tensor = tensors.get_tensor(name)
            check(tensor.dtype == by_hand[name].dtype and numpy.array_equal(tensor, by_hand[name]), name)
            if name.endswith("/keys"):
                rows += len(tensor)
                check(len(numpy.unique(tensor)) == len(tensor), f"{name}: a key occurs twice")
                weights = tensors.get_tensor(name.removesuffix("keys") + "weights")
                check(weights.shape[0] == len(tensor) and numpy.isfinite(weights).all(), f"{name}: {weights.shape}")
                check(numpy.abs(weights).max() > 0, f"{name}: all weights are zero")
    check(rows == metrics(run_dir)["rows"], f"{rows} rows exported of {metrics(run_dir)['rows']}")
    run("export", run_dir, path, "--no-tables")
    with safe_open(path, framework="numpy") as tensors:
        check(not any(name.endswith("/keys") for name in tensors.keys()), "tables in spite of --no-tables")


def test_unwritable_output_is_named_and_the_old_file_stays(folder):
    data = write_criteo(f"{folder}/train.tsv", 300)
    run(*train_arguments(data, f"{folder}/run", model="lr"))
    outcome = run("export", f"{folder}/run", f"{folder}/none/model.safetensors", code=3)
    check_in("none/model.safetensors", outcome.err)
    check(not os.path.exists(f"{folder}/none"), "a folder was made")


main(sys.modules[__name__])
