"""Every optimizer against JAX, on DeepFM: rows with lazy semantics, slots included, and dense parameters."""
import unittest

import parity

DEEPFM = {"preset": "deepfm", "dim": 4, "mlp": [12, 8]}
OPTIMIZERS = {
    "sgd": {"name": "sgd", "learning_rate": 0.1},
    "sgd_l1_l2": {"name": "sgd", "learning_rate": 0.1, "l1": 1e-4, "l2": 1e-3},
    "momentum": {"name": "momentum", "learning_rate": 0.02, "momentum": 0.8},
    "adagrad": {"name": "adagrad", "learning_rate": 0.05},
    "rowwise_adagrad": {"name": "rowwise_adagrad", "learning_rate": 0.05, "epsilon": 1e-6},
    "ftrl": {"name": "ftrl", "learning_rate": 0.1, "l1": 1e-3, "l2": 1e-2},
    "ftrl_power": {"name": "ftrl", "learning_rate": 0.1, "l2": 1e-2, "ftrl_power": 0.8, "initial_accumulator": 0.1},
    "momentum_lazy_decay": {"name": "momentum", "learning_rate": 0.02, "momentum": 0.8, "lazy_decay": True},
    "adam_lazy_decay": {"name": "adam", "learning_rate": 0.003, "beta2": 0.98, "lazy_decay": True},
    "adam": {"name": "adam", "learning_rate": 0.003},
    "adamw": {"name": "adamw", "learning_rate": 0.003, "weight_decay": 0.01},
}


class OptimizersTest(unittest.TestCase):
    def check(self, steps, precision, bound):
        for name, settings in OPTIMIZERS.items():
            with self.subTest(optimizer=name):
                (difference, where), moved = parity.compare(DEEPFM, settings, steps, precision)
                print(f"{name}: {steps} steps in {precision}: {difference:.1e} ({where}); training moved {moved:.1e}",
                      flush=True)
                self.assertLess(difference, bound, where)
                self.assertGreater(moved, 1e-2, "training changed nothing: the comparison means nothing")

    def test_thousand_steps_in_float64(self):
        self.check(1000, "fp64", 1e-10)

    def test_ten_steps_in_float32(self):
        self.check(10, "fp32", 1e-5)


if __name__ == "__main__":
    unittest.main(argv=["optimizers_test"])
