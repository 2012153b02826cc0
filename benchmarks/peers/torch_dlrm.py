#!/usr/bin/env python3
"""DLRM in PyTorch at the shapes of benchmarks/system/k.yaml and m.yaml: what many users would write.

Variants
  eager-fp32, eager-bf16      nn.EmbeddingBag(sparse=True), torch.optim.Adagrad, autocast for bf16
  tuned-fp32, tuned-bf16      torch.compile for the dense net, FBGEMM's fused tables (row-wise Adagrad inside the backward)

The data are batches in memory with power-law keys (index = u^4 * rows), as in our benchmark; keys are row numbers already,
so hashing, growing tables and unique keys, which our figure includes, are not part of this one. Prints one JSON object.
Needs torch; the tuned variants fbgemm-gpu-cpu and a C++ compiler."""
import argparse
import json
import statistics
import time

import numpy as np
import torch
from torch import nn

SHAPES = {
    "k": dict(fields=26, dim=16, bottom=[13, 512, 256, 64, 16], top=[512, 256, 1], rows=1_000_000),
    "m": dict(fields=26, dim=128, bottom=[13, 512, 256, 128], top=[1024, 1024, 512, 256, 1], rows=400_000),
}


def mlp(widths, last_is_linear):
    layers = []
    for i in range(1, len(widths)):
        layers.append(nn.Linear(widths[i - 1], widths[i]))
        if i < len(widths) - 1 or not last_is_linear:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class DenseNet(nn.Module):
    """Bottom MLP, pairwise dots of the 27 vectors, top MLP."""

    def __init__(self, shape):
        super().__init__()
        vectors = shape["fields"] + 1
        self.bottom = mlp(shape["bottom"], False)
        self.top = mlp([shape["dim"] + vectors * (vectors - 1) // 2] + shape["top"], True)
        pairs = torch.tril_indices(vectors, vectors, -1)
        self.register_buffer("first", pairs[0])
        self.register_buffer("second", pairs[1])

    def forward(self, dense, embedded):
        bottom = self.bottom(dense)
        vectors = torch.cat([bottom.unsqueeze(1), embedded.to(bottom.dtype)], 1)
        dots = torch.bmm(vectors, vectors.transpose(1, 2))[:, self.first, self.second]
        return self.top(torch.cat([bottom, dots.to(bottom.dtype)], 1))


class EagerTables:
    def __init__(self, shape, learning_rate):
        self.bags = nn.ModuleList(
            nn.EmbeddingBag(shape["rows"], shape["dim"], mode="sum", sparse=True) for _ in range(shape["fields"]))
        self.optimizer = torch.optim.Adagrad(self.bags.parameters(), lr=learning_rate)

    def __call__(self, keys, offsets):
        return torch.stack([bag(keys[f], offsets) for f, bag in enumerate(self.bags)], 1)

    def step(self):
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class FusedTables:
    """FBGEMM updates its rows inside the backward pass."""

    def __init__(self, shape, learning_rate):
        import fbgemm_gpu  # noqa: F401  registers the operators
        from fbgemm_gpu.split_embedding_configs import EmbOptimType
        from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
        from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
            ComputeDevice, SplitTableBatchedEmbeddingBagsCodegen)
        self.shape = shape
        self.tables = SplitTableBatchedEmbeddingBagsCodegen(
            [(shape["rows"], shape["dim"], EmbeddingLocation.HOST, ComputeDevice.CPU)] * shape["fields"],
            optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD, learning_rate=learning_rate, eps=1e-8,
            device=torch.device("cpu"))

    def __call__(self, keys, offsets):
        batch = keys.shape[1]
        bounds = torch.arange(keys.numel() + 1)
        return self.tables(keys.reshape(-1), bounds).view(batch, self.shape["fields"], self.shape["dim"])

    def step(self):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="k")
    parser.add_argument("--variant", choices=["eager-fp32", "eager-bf16", "tuned-fp32", "tuned-bf16"],
                        default="eager-fp32")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=0, help="0: all processors")
    parser.add_argument("--seconds", type=float, default=8.0)
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    torch.manual_seed(0)
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    tuned, bf16 = args.variant.startswith("tuned"), args.variant.endswith("bf16")

    net = DenseNet(shape)
    tables = (FusedTables if tuned else EagerTables)(shape, 0.01)
    optimizer = torch.optim.Adagrad(net.parameters(), lr=0.01, foreach=True)
    forward = torch.compile(net) if tuned else net

    rng = np.random.default_rng(1)
    batches = 16
    keys = torch.from_numpy((rng.random((batches, shape["fields"], args.batch)) ** 4 * shape["rows"]).astype(np.int64))
    dense = torch.rand(batches, args.batch, shape["bottom"][0])
    labels = (torch.rand(batches, args.batch, 1) < 0.25).float()
    offsets = torch.arange(args.batch)

    def step(i):
        embedded = tables(keys[i], offsets)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = forward(dense[i], embedded)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels[i])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tables.step()
        return loss

    for i in range(8):
        step(i % batches)
    times, start = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - start < args.seconds:
        begin = time.perf_counter()
        loss = step(len(times) % batches)
        times.append(time.perf_counter() - begin)
    print(json.dumps({
        "peer": f"torch {torch.__version__} {args.variant}", "workload": args.shape, "batch": args.batch,
        "threads": torch.get_num_threads(), "steps": len(times),
        "samples_per_s": round(args.batch * len(times) / sum(times), 1),
        "samples_per_s_median_step": round(args.batch / statistics.median(times), 1), "loss": round(loss.item(), 4)}))


if __name__ == "__main__":
    main()
