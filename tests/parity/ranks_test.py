"""Several ranks against JAX directly: 1,000 steps on the float64 plain path, and 10 steps in fp32.

Every model, optimizer, placement, mix, narrower form and number of ranks takes part; the full product is compared with
one rank in src/train/ranks_matrix_slow_test.cc.
"""
import unittest

import parity

SMALL = {"dim": 4, "mlp": [12, 8], "bottom_mlp": [10], "top_mlp": [12], "cross_layers": 2}
SGD = {"name": "sgd", "learning_rate": 0.1}
ADAGRAD = {"name": "adagrad", "learning_rate": 0.05, "initial_accumulator": 0.01}
FTRL = {"name": "ftrl", "learning_rate": 0.1, "l1": 1e-3, "l2": 1e-2}
LAZY_ADAM = {"name": "adam", "learning_rate": 0.003, "lazy_decay": True}
# Preset, pooling, optimizer, placement and further settings of the strategy, ranks.
CASES = [
    ("lr", "sum", FTRL, "des", 8),
    ("lr", "sum", SGD, "rows_a2a", 3),
    ("wide_deep", "mean", SGD, "des_rs", 2),
    ("wide_deep", "sum", LAZY_ADAM, "des", 3),
    ("fm", "sum", ADAGRAD, "rows_a2a", 4),
    ("fm", "sum", LAZY_ADAM, "des_rs", 8),
    ("deepfm", "sum", LAZY_ADAM, "rows_a2a", 2),
    ("deepfm", "sqrtn", ADAGRAD, "des", 4),
    ("dnn", "max", ADAGRAD, "des_rs", 3),
    ("dnn", "mean", FTRL, "rows_a2a", 8),
    ("dlrm", "sum", SGD, "des", 2),
    ("dlrm", "sum", FTRL, "des_rs", 4),
    ("dcnv2", "sum", FTRL, "rows_a2a", 3),
    ("dcnv2", "sum", SGD, "des_rs", 8),
    ("lr", "sum", ADAGRAD, "field_a2a", 4),
    ("fm", "sum", SGD, "field_a2a input=sharded", 2),
    ("dlrm", "sum", LAZY_ADAM, "field_a2a", 3),
    ("dcnv2", "mean", ADAGRAD, "field_a2a input=sharded", 4),
    ("deepfm", "mean", FTRL, "des_rs fields.city=field_a2a fields.tags=rows_a2a input=sharded", 3),
    ("wide_deep", "max", ADAGRAD, "rows_a2a fields.words=des_rs fields.color=field_a2a", 4),
    ("dnn", "sum", LAZY_ADAM, "des first_layer=by_hash", 2),
    ("wide_deep", "sum", FTRL, "field_a2a first_layer=by_rows", 3),
    ("dcn", "sum", ADAGRAD, "des_rs first_layer=by_hash", 4),
]


class RanksTest(parity.Cases, unittest.TestCase):
    def cases(self):
        return [(f"{preset}, {pooling}, {settings['name']}, {placement}, {ranks} ranks",
                 {**SMALL, "preset": preset, "pooling": pooling}, settings, ranks,
                 [f"strategy.{setting}" for setting in f"placement={placement}".split()])
                for preset, pooling, settings, placement, ranks in CASES]


if __name__ == "__main__":
    unittest.main()
