#!/usr/bin/env python3
"""Workload P on PaddlePaddle's asynchronous parameter servers (brpc): Wide&Deep, one table of width 17, MLP
429-400-400-400-1, Adam, as its own documentation trains: train_from_dataset, which reads slot files and merges the gradients
of several batches before it pushes them.

Run it in a network namespace of its own (benchmarks/system/p_peers.py). Prints one JSON object. Needs paddlepaddle 2.6.2,
protobuf 4.25.8, numpy below 2, and the files of criteo_shards.py --text."""
import argparse
import json
import os
import subprocess
import sys
import time

from processes import Stretch, end_all
from tf_ps import DENSE, DIM, FIELDS


def build(paddle, fleet, args, meta):
    """The program of one worker; returns what its slots are and its loss."""
    static = paddle.static
    label = static.data("label", [-1, 1], "int64", lod_level=0)
    dense = static.data("dense", [-1, DENSE], "float32")
    slots = [static.data(f"c{i}", [-1, 1], "int64", lod_level=1) for i in range(FIELDS)]
    uniform = lambda scale: paddle.nn.initializer.Uniform(-scale, scale)
    taken = [static.nn.sparse_embedding(slot, size=[meta["rows"], DIM], is_test=False,
                                        param_attr=paddle.ParamAttr(name="table", initializer=uniform(args.row_scale)))
             for slot in slots]
    taken = [static.nn.sequence_lod.sequence_pool(t, "sum") for t in taken]
    deep = paddle.concat([t[:, 1:] for t in taken] + [dense], axis=1)
    for width in (400, 400, 400):
        deep = static.nn.fc(deep, width, activation="relu")
    logit = static.nn.fc(deep, 1) + paddle.add_n([t[:, :1] for t in taken]) + static.nn.fc(dense, 1, bias_attr=False)
    loss = paddle.mean(paddle.nn.functional.binary_cross_entropy_with_logits(logit, paddle.cast(label, "float32"),
                                                                             reduction="none"))
    strategy = fleet.DistributedStrategy()
    strategy.a_sync = True
    optimizer = paddle.optimizer.Adam(args.learning_rate, lazy_mode=True)
    fleet.distributed_optimizer(optimizer, strategy).minimize(loss)
    return [label, dense] + slots, loss


def run_role(args):
    import paddle
    import paddle.distributed.fleet as fleet
    meta = json.load(open(os.path.join(args.data, "meta.json")))
    paddle.enable_static()
    paddle.seed(args.seed)
    fleet.init(fleet.PaddleCloudRoleMaker(is_collective=False))
    used, loss = build(paddle, fleet, args, meta)
    if fleet.is_server():
        fleet.init_server()
        fleet.run_server()
        return
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(paddle.static.default_startup_program())
    fleet.init_worker()
    dataset = paddle.distributed.QueueDataset()
    dataset.init(batch_size=meta["batch"], use_var=used, pipe_command="cat", thread_num=args.threads)
    dataset.set_filelist([os.path.join(args.data, f"worker{args.worker}", "shard.txt")])
    print("ready", flush=True)
    sys.stdin.readline()
    begin = time.perf_counter()
    executor.train_from_dataset(paddle.static.default_main_program(), dataset, thread=args.threads, fetch_list=[loss],
                                fetch_info=["loss"], print_period=100)
    print("ended " + json.dumps({"seconds": time.perf_counter() - begin}), flush=True)
    sys.stdin.readline()   # the others have ended
    fleet.stop_worker()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of criteo_shards.py --text")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--row-scale", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=29600)
    parser.add_argument("--role", default="")
    parser.add_argument("--worker", type=int, default=0)
    args = parser.parse_args()
    if args.role:
        return run_role(args)
    meta = json.load(open(os.path.join(args.data, "meta.json")))
    workers = [f"127.0.0.1:{args.port + 1 + w}" for w in range(args.workers)]
    common = dict(os.environ, PADDLE_PSERVERS_IP_PORT_LIST=f"127.0.0.1:{args.port}", PADDLE_PSERVER_NUMBERS="1",
                  PADDLE_TRAINER_ENDPOINTS=",".join(workers), PADDLE_TRAINERS_NUM=str(args.workers), POD_IP="127.0.0.1",
                  OMP_NUM_THREADS=str(args.threads), GLOG_v="0", GLOG_minloglevel="2", PADDLE_WITH_GLOO="0")
    with open("/proc/cpuinfo") as cpuinfo:
        if "AuthenticAMD" in cpuinfo.read():
            common["MKL_DEBUG_CPU_TYPE"] = "5"   # else its library runs at half speed there
    command = [sys.executable, os.path.abspath(__file__)] + sys.argv[1:]
    children = {"ps0": subprocess.Popen(command + ["--role", "server"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        env=dict(common, TRAINING_ROLE="PSERVER", PADDLE_PORT=str(args.port)))}
    for w in range(args.workers):
        children[f"worker{w}"] = subprocess.Popen(
            command + ["--role", "worker", "--worker", str(w)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=dict(common, TRAINING_ROLE="TRAINER", PADDLE_TRAINER_ID=str(w), PADDLE_PORT=str(args.port + 1 + w)))
    clients = [children[f"worker{w}"] for w in range(args.workers)]
    losses = []

    def wait_for(child, word):
        for line in child.stdout:
            if "loss" in line and word != "ready":
                losses.append(line.strip())
            if line.startswith(word):
                return line[len(word):].strip()
        raise SystemExit("a worker failed")

    try:
        for child in clients:
            wait_for(child, "ready")
        stretch = Stretch(children, clients)
        for child in clients:
            wait_for(child, "ended")
        stretch.end()
        stretch.print_report("paddlepaddle 2.6.2 brpc", args.workers, meta["samples"],
                             loss=losses[-1] if losses else None)
    finally:
        end_all(children)


if __name__ == "__main__":
    main()
