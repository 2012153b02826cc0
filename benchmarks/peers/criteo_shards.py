#!/usr/bin/env python3
"""Turns Criteo-format text into what the loops of tf_ps.py and paddle_ps.py read fastest: keys as row numbers, integers as
sign(x) log(1 + |x|), a missing integer as 0, cut into whole batches and dealt to the workers in turn.

OUT/meta.json           rows of the table, samples, batch size
OUT/worker<i>/shard.bin batches: labels float32 [B], integers float32 [B, 13], rows int32 [B, 26]
OUT/worker<i>/shard.txt the same in Paddle's slot format, with --text
OUT/test.bin            the last part of the file, in the layout of shard.bin

Their own preprocessing is thereby free for them; ours reads the text."""
import argparse
import json
import os

import numpy as np


def read(path):
    """Labels [n], integers [n, 13] and row numbers [n, 26], every (column, text) a row of its own in order of appearance."""
    rows = {}
    labels, integers, keys = [], [], []
    with open(path) as lines:
        for line in lines:
            cells = line.rstrip("\n").split("\t")
            labels.append(cells[0])
            integers.append([cell or "0" for cell in cells[1:14]])
            keys.append([rows.setdefault((column, cell), len(rows)) for column, cell in enumerate(cells[14:40])])
    x = np.array(integers, np.float32)
    return np.array(labels, np.float32), np.sign(x) * np.log1p(np.abs(x)), np.array(keys, np.int32), len(rows)


def pack(labels, integers, keys):
    return labels.tobytes() + np.ascontiguousarray(integers).tobytes() + np.ascontiguousarray(keys).tobytes()


def text(labels, integers, keys):
    lines = []
    for label, dense, row in zip(labels, integers, keys):
        slots = [f"1 {int(label)}", "13 " + " ".join(f"{v:.6g}" for v in dense)] + [f"1 {key}" for key in row]
        lines.append(" ".join(slots))
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--test-fraction", type=float, default=0.1)
    parser.add_argument("--text", action="store_true", help="also Paddle's slot files")
    args = parser.parse_args()
    labels, integers, keys, rows = read(args.file)
    test = len(labels) - round(len(labels) * args.test_fraction)
    batches = test // args.batch
    folders = [os.path.join(args.out, f"worker{w}") for w in range(args.workers)]
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
    for w, folder in enumerate(folders):
        with open(os.path.join(folder, "shard.bin"), "wb") as binary:
            for b in range(w, batches, args.workers):
                part = slice(b * args.batch, (b + 1) * args.batch)
                binary.write(pack(labels[part], integers[part], keys[part]))
        if args.text:
            with open(os.path.join(folder, "shard.txt"), "w") as out:
                for b in range(w, batches, args.workers):
                    part = slice(b * args.batch, (b + 1) * args.batch)
                    out.write(text(labels[part], integers[part], keys[part]))
    with open(os.path.join(args.out, "test.bin"), "wb") as binary:
        binary.write(pack(labels[test:], integers[test:], keys[test:]))
    with open(os.path.join(args.out, "meta.json"), "w") as meta:
        json.dump({"rows": rows, "samples": batches * args.batch, "batch": args.batch, "workers": args.workers,
                   "test_samples": len(labels) - test}, meta)


if __name__ == "__main__":
    main()
