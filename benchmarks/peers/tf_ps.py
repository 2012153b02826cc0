#!/usr/bin/env python3
"""Workload P in TensorFlow with its gRPC parameter servers: Wide&Deep, one table of width 17 (wide weight and 16 numbers),
MLP 429-400-400-400-1, Adagrad, asynchronous.

The loop is written by hand over TensorFlow's graph: every worker process is its own client, variables live on the server,
rows are made unique before they are read (tf.unique), updates run on the server. That is faster than Keras, and than
one coordinator that schedules steps on the workers.

TensorFlow's servers listen on every address: run this in a network namespace of its own (benchmarks/system/p_peers.py).
Prints one JSON object. Needs tensorflow 2.21 and the files of criteo_shards.py."""
import argparse
import json
import os
import subprocess
import sys
import time

from processes import Stretch, end_all, go

WIDTHS = [429, 400, 400, 400, 1]
FIELDS, DENSE, DIM = 26, 13, 17


def build(tf, tf1, args, meta, worker, workers):
    """The graph of one worker; returns the training step's operation and loss, and the test logits."""
    server = "/job:ps/task:0/cpu:0"
    # Where there is one process, that is the server too.
    here = f"/job:worker/task:{worker}/cpu:0" if workers > 0 else server

    def variable(name, shape, initial, start):
        with tf.device(server):
            value = tf1.get_variable(name, shape, initializer=initial, use_resource=True)
            slot = tf1.get_variable(name + "_slot", shape, initializer=tf1.constant_initializer(start), use_resource=True)
        return value, slot

    uniform = lambda scale: tf1.random_uniform_initializer(-scale, scale, seed=args.seed)
    table, table_slot = variable("table", [meta["rows"], DIM], uniform(args.row_scale), args.accumulator)
    dense = []
    for i in range(len(WIDTHS) - 1):
        fan_in, fan_out = WIDTHS[i], WIDTHS[i + 1]
        scale = (6.0 / fan_in) ** 0.5 if i + 2 < len(WIDTHS) else (6.0 / (fan_in + fan_out)) ** 0.5
        dense.append((*variable(f"w{i}", [fan_in, fan_out], uniform(scale), args.accumulator),
                      *variable(f"b{i}", [fan_out], tf1.zeros_initializer(), args.accumulator)))
    wide, wide_slot = variable("wide", [DENSE, 1], tf1.zeros_initializer(), args.accumulator)

    def logits_of(integers, rows, inverse, size, weights, wide_weight):
        taken = tf.reshape(tf.gather(rows, inverse), [size, FIELDS, DIM])
        x = tf.concat([tf.reshape(taken[:, :, 1:], [size, FIELDS * (DIM - 1)]), integers], 1)
        for i, (w, b) in enumerate(weights):
            x = tf.matmul(x, w) + b
            if i + 1 < len(weights):
                x = tf.nn.relu(x)
        return (x + tf.reduce_sum(taken[:, :, 0], 1, keepdims=True) + tf.matmul(integers, wide_weight))[:, 0]

    def decode(record, size):
        numbers = tf.io.decode_raw(record, tf.float32)
        return (numbers[:size], tf.reshape(numbers[size:size * (1 + DENSE)], [size, DENSE]),
                tf.bitcast(numbers[size * (1 + DENSE):], tf.int32))

    with tf.device(here):
        size = meta["batch"]
        path = os.path.join(args.data, f"worker{max(worker, 0)}", "shard.bin")
        data = tf1.data.FixedLengthRecordDataset(path, record_bytes=4 * size * (1 + DENSE + FIELDS)).repeat(args.epochs)
        batches = tf1.data.make_one_shot_iterator(data.map(lambda record: decode(record, size)).prefetch(4))
        labels, integers, keys = batches.get_next()
        labels = tf.reshape(labels, [size])
        integers = tf.reshape(integers, [size, DENSE])
        unique, inverse = tf.unique(tf.reshape(keys, [size * FIELDS]))
    with tf.device(server):
        rows_there = tf.gather(table, unique)
    with tf.device(here):
        rows = tf.identity(rows_there)
        weights = [(tf.identity(w.read_value()), tf.identity(b.read_value())) for w, _, b, _ in dense]
        wide_here = tf.identity(wide.read_value())
        logits = logits_of(integers, rows, inverse, size, weights, wide_here)
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
        flat = [t for pair in weights for t in pair]
        grads = tf.gradients(loss, [rows, wide_here] + flat)
        row_grads = grads[0]
        if isinstance(row_grads, tf.IndexedSlices):
            row_grads = tf1.unsorted_segment_sum(row_grads.values, row_grads.indices, tf.shape(unique)[0])
    lr = tf.constant(args.learning_rate)
    eps = tf.constant(1e-8)
    updates = []
    with tf.device(server):
        updates.append(tf.raw_ops.ResourceSparseApplyAdagradV2(
            var=table.handle, accum=table_slot.handle, lr=lr, epsilon=eps, grad=row_grads, indices=unique))
        variables = [(wide, wide_slot)] + [pair for w, ws, b, bs in dense for pair in ((w, ws), (b, bs))]
        for (var, slot), grad in zip(variables, grads[1:]):
            updates.append(tf.raw_ops.ResourceApplyAdagradV2(var=var.handle, accum=slot.handle, lr=lr, epsilon=eps, grad=grad))
    train = tf.group(*updates)

    with tf.device(here):
        test_integers = tf1.placeholder(tf.float32, [None, DENSE])
        test_keys = tf1.placeholder(tf.int32, [None])
        test_unique, test_inverse = tf.unique(test_keys)
    with tf.device(server):
        test_rows = tf.gather(table, test_unique)
    with tf.device(here):
        test = logits_of(test_integers, test_rows, test_inverse, tf.shape(test_integers)[0],
                         [(w.read_value(), b.read_value()) for w, _, b, _ in dense], wide.read_value())
    return train, loss, (test, test_integers, test_keys)


def evaluate(session, test, path, samples):
    import numpy as np
    logits_of, integers_in, keys_in = test
    with open(path, "rb") as binary:
        labels = np.frombuffer(binary.read(4 * samples), np.float32)
        integers = np.frombuffer(binary.read(4 * samples * DENSE), np.float32).reshape(samples, DENSE)
        keys = np.frombuffer(binary.read(4 * samples * FIELDS), np.int32).reshape(samples, FIELDS)
    logits = np.concatenate([session.run(logits_of, {integers_in: integers[i:i + 8192],
                                                     keys_in: keys[i:i + 8192].reshape(-1)})
                             for i in range(0, samples, 8192)]).astype(np.float64)
    order = np.argsort(logits, kind="stable")
    ranks = np.empty(samples)
    ranks[order] = np.arange(1, samples + 1)
    positives = labels.sum()
    auc = (ranks[labels > 0].sum() - positives * (positives + 1) / 2) / (positives * (samples - positives))
    logloss = np.mean(np.logaddexp(0, logits) - labels * logits)
    return float(auc), float(logloss)


def run_role(args):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import tensorflow as tf
    tf1 = tf.compat.v1
    tf1.disable_eager_execution()
    meta = json.load(open(os.path.join(args.data, "meta.json")))
    cluster = {"ps": [f"127.0.0.1:{args.port}"]}
    if args.workers > 0:
        cluster["worker"] = [f"127.0.0.1:{args.port + 1 + w}" for w in range(args.workers)]
    job, task = args.role.rstrip("0123456789"), int(args.role.lstrip("psworker") or 0)
    config = tf1.ConfigProto(inter_op_parallelism_threads=2, intra_op_parallelism_threads=args.threads)
    server = tf1.train.Server(cluster, job_name=job, task_index=task, config=config)
    if job == "ps" and args.workers > 0:
        server.join()
    train, loss, test = build(tf, tf1, args, meta, task, args.workers)
    share = args.workers or 1
    steps = meta["samples"] // meta["batch"] // share * args.epochs
    steps = min(steps, args.steps // share) if args.steps else steps
    with tf1.Session(server.target, config=config) as session:
        if task == 0:
            session.run(tf1.global_variables_initializer())
        else:
            while session.run(tf1.report_uninitialized_variables()).size:
                time.sleep(0.2)
        for _ in range(args.warmup):
            session.run(train)
        print("ready", flush=True)
        sys.stdin.readline()
        begin = time.perf_counter()
        last = []
        for step in range(steps - args.warmup):
            _, value = session.run([train, loss])
            last = (last + [float(value)])[-50:]
        print(json.dumps({"seconds": time.perf_counter() - begin, "samples": (steps - args.warmup) * meta["batch"],
                          "loss": sum(last) / len(last)}), flush=True)
        sys.stdin.readline()   # the others have ended
        if task == 0:
            auc, logloss = evaluate(session, test, os.path.join(args.data, "test.bin"), meta["test_samples"])
            print(json.dumps({"auc": auc, "logloss": logloss}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of criteo_shards.py")
    parser.add_argument("--workers", type=int, default=2, help="0: one process without a server")
    parser.add_argument("--threads", type=int, default=1, help="threads of one process's products")
    parser.add_argument("--steps", type=int, default=0, help="over all workers; 0: the whole data")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=5, help="steps of each worker before time is taken")
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--accumulator", type=float, default=0.1)
    parser.add_argument("--row-scale", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=29500)
    parser.add_argument("--role", default="")
    args = parser.parse_args()
    if args.role:
        return run_role(args)
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="1")
    command = [sys.executable, os.path.abspath(__file__)] + sys.argv[1:]
    roles = ["ps0"] + [f"worker{w}" for w in range(args.workers)]
    children = {role: subprocess.Popen(command + ["--role", role], env=environment, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True) for role in roles}
    try:
        clients = [children[role] for role in roles if role != "ps0" or args.workers == 0]
        for child in clients:
            assert child.stdout.readline().strip() == "ready", "a worker failed"
        stretch = Stretch(children, clients)
        parts = [json.loads(child.stdout.readline()) for child in clients]
        stretch.end()
        go(clients)
        quality = json.loads(clients[0].stdout.readline())
        stretch.print_report("tensorflow 2.21 gRPC", args.workers, sum(part["samples"] for part in parts),
                             loss=round(parts[0]["loss"], 5), auc=round(quality["auc"], 5),
                             logloss=round(quality["logloss"], 5))
    finally:
        end_all(children)


if __name__ == "__main__":
    main()
