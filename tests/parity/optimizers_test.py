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


class OptimizersTest(parity.Cases, unittest.TestCase):
    def cases(self):
        return [(name, DEEPFM, settings) for name, settings in OPTIMIZERS.items()]


if __name__ == "__main__":
    unittest.main()
