"""Several ranks against JAX directly: 1,000 steps on the float64 plain path, and 10 steps in fp32.

Every model, optimizer, placement and number of ranks takes part, and every two of model, optimizer and placement meet
where the other test of ranks, src/train/ranks_matrix_slow_test.cc, compares the full product with one rank.
"""
import unittest

import parity

SMALL = {"dim": 4, "mlp": [12, 8], "bottom_mlp": [10], "top_mlp": [12], "cross_layers": 2}
SGD = {"name": "sgd", "learning_rate": 0.1}
ADAGRAD = {"name": "adagrad", "learning_rate": 0.05, "initial_accumulator": 0.01}
FTRL = {"name": "ftrl", "learning_rate": 0.1, "l1": 1e-3, "l2": 1e-2}
LAZY_ADAM = {"name": "adam", "learning_rate": 0.003, "lazy_decay": True}
# Preset, pooling, optimizer, placement, ranks.
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
]


class RanksTest(unittest.TestCase):
    def check(self, steps, precision, bound):
        for preset, pooling, settings, placement, ranks in CASES:
            name = f"{preset}, {pooling}, {settings['name']}, {placement}, {ranks} ranks"
            with self.subTest(case=name):
                model = {**SMALL, "preset": preset, "pooling": pooling}
                (difference, where), moved = parity.compare(model, settings, steps, precision, ranks,
                                                            [f"strategy.placement={placement}"])
                print(f"{name}: {steps} steps in {precision}: {difference:.1e} ({where}); training moved {moved:.1e}",
                      flush=True)
                self.assertLess(difference, bound, where)
                self.assertGreater(moved, 1e-2, "training changed nothing: the comparison means nothing")

    def test_thousand_steps_in_float64(self):
        self.check(1000, "fp64", 1e-10)

    def test_ten_steps_in_float32(self):
        self.check(10, "fp32", 1e-5)


if __name__ == "__main__":
    unittest.main(argv=["ranks_test"])
